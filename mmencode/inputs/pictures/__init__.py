"""Picture files are decoded to upright RGB images, once their headers have been checked against limits."""

from .decoding import FORMATS, count_pixels, decode, memory_of, require_header
from .orientation import ORIENTATION_TAG, orientation_of, upright
from .readers import require_pixels
from .refusals import decoding_error, file_closed_error
from .samples import cut, rgb, unit_range

__all__ = [
    "FORMATS",
    "ORIENTATION_TAG",
    "count_pixels",
    "cut",
    "decode",
    "decoding_error",
    "file_closed_error",
    "memory_of",
    "orientation_of",
    "require_header",
    "require_pixels",
    "rgb",
    "unit_range",
    "upright",
]
