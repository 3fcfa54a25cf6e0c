"""mmencode for LlamaIndex: `MmencodeEmbedding` embeds texts, images and audio into one space."""

from __future__ import annotations

from .embedding import MmencodeEmbedding

__all__ = ["MmencodeEmbedding"]
