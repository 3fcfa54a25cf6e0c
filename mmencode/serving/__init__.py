"""Serving: loaded spaces behind the protocols that clients of embeddings already speak."""
