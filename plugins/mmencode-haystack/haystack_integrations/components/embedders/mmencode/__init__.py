"""mmencode for Haystack: embedders of texts, and of images and audio, into one space."""

from __future__ import annotations

from .embedders import (
    MmencodeDocumentEmbedder,
    MmencodeMediaDocumentEmbedder,
    MmencodeMediaEmbedder,
    MmencodeTextEmbedder,
)

__all__ = [
    "MmencodeDocumentEmbedder",
    "MmencodeMediaDocumentEmbedder",
    "MmencodeMediaEmbedder",
    "MmencodeTextEmbedder",
]
