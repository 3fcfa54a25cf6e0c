"""Bytes of a file become an upright RGB image, after its header was seen to ask for no more than it may."""

from .decoding import FORMATS, decode, memory_of, require_header
from .orientation import orientation_of, upright
from .plugins import require_pixels
from .refusals import closed, undecodable
from .samples import cut, rgb, unit_range

__all__ = [
    "FORMATS",
    "closed",
    "cut",
    "decode",
    "memory_of",
    "orientation_of",
    "require_header",
    "require_pixels",
    "rgb",
    "undecodable",
    "unit_range",
    "upright",
]
