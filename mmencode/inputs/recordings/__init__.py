"""Sound files are decoded to mono, with the limits enforced on the samples as they are decoded."""

from .decoding import decode
from .mix import Mix
from .scale import require_scale, to_float

__all__ = ["Mix", "decode", "require_scale", "to_float"]
