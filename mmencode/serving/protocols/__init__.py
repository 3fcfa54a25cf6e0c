"""Protocols that clients of embeddings speak, each an `APIRouter` that a function `routes` makes."""
