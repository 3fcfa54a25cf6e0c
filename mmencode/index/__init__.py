"""Retrieval: rows of any modalities of one space in a folder, searched by vectors of that space."""

from __future__ import annotations

from .folders import sync
from .index import Index
from .results import Added, Failure, Hit, Rows, State

__all__ = ["Added", "Failure", "Hit", "Index", "Rows", "State", "sync"]
