"""The contract of an encoder, for its author to implement, with helpers."""

from __future__ import annotations

from . import windows
from .base import Base
from .contract import Encoder, Tensors
from .identity import digest, identify, identify_projection, known
from .multi import MultiEncoder
from .notices import Notice
from .padding import pad_rows

__all__ = [
    "Base",
    "Encoder",
    "MultiEncoder",
    "Notice",
    "Tensors",
    "digest",
    "identify",
    "identify_projection",
    "known",
    "pad_rows",
    "windows",
]
