"""Copies of networks that share the memory of their parameters, and no other state that changes."""

from __future__ import annotations

from .borrowed import Borrowed
from .making import snapshot, structural_copy

__all__ = ["Borrowed", "snapshot", "structural_copy"]
