"""Files of sound become one channel of samples, counted as they are decoded, under limits all the while."""

from .decoding import decode
from .mix import Mix
from .scale import require_scale, to_float

__all__ = ["Mix", "decode", "require_scale", "to_float"]
