"""mmencode for LangChain: `MmencodeEmbeddings`, and `MmencodeVectorStore` on an index of mmencode."""

from __future__ import annotations

from .embeddings import MmencodeEmbeddings
from .vectorstores import MmencodeVectorStore

__all__ = ["MmencodeEmbeddings", "MmencodeVectorStore"]
