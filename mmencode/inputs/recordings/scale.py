"""Samples of any type are scaled to -1 to 1, and refused if their values are on another type's scale."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import InputError
from ..waveform import LOUDEST, Samples, divisor, loudness_error

Array = np.ndarray[Any, Any]

_FLOAT_END = float(np.finfo(np.float32).max)
_HEAD = 4096  # samples checked first, which nearly always tell that they aren't all whole


def to_float(samples: Array) -> Samples:
    """Convert samples to float32, integers divided by the range of their type, too large floats to inf."""
    kind = samples.dtype
    if kind.kind == "f":
        with np.errstate(over="ignore"):  # refused later, as not finite
            return np.asarray(samples, np.float32)
    half = 2.0 ** (8 * kind.itemsize - 1)
    middle = half if kind.kind == "u" else 0.0
    return np.asarray((samples.astype(np.float64) - middle) / half, np.float32)


def require_scale(samples: Array, source: str) -> None:
    """Raise InputError for types other than floats and integers, and for values on another type's scale.

    Integers of 32 or 64 bits are refused when all of them fit into half of the bits, such as 16-bit values in
    an int32 array: a recording that quiet would be silent. All zeros are accepted as silence, and multiples
    of 256 in int32 as 24-bit values. Unsigned integers are centred on the middle of their range, so values in
    its lowest part only are refused. Floats are refused beyond 16, and when they are integers beyond 1.
    """
    kind = samples.dtype
    if kind.kind not in "fiu":
        raise InputError(f"the waveform's type is {kind}", source=source, remedy="make it float or integer")
    if not samples.size:
        return
    if kind.kind == "f":
        FloatScale(samples).require(source)
    elif kind.itemsize > (1 if kind.kind == "u" else 2):
        _require_bits(samples, int(samples.min()), int(samples.max()), source)


class FloatScale:
    """The scale of float samples, tracked block by block: their range, and whether all are whole numbers."""

    def __init__(self, block: Array | None = None) -> None:
        self._low, self._high, self._whole = 0.0, 0.0, True
        if block is not None:
            self.see(block)

    @np.errstate(invalid="ignore")
    def see(self, block: Array) -> None:
        """Update the range with a block of samples."""
        if block.size:
            self._low = min(self._low, float(block.min()))
            self._high = max(self._high, float(block.max()))
            self._whole = self._whole and _whole(block)

    def require(self, source: str) -> None:
        """Raise InputError for floats on the scale of integers; infinite ones are refused elsewhere."""
        peak = max(-self._low, self._high)
        if LOUDEST < peak <= _FLOAT_END or (self._whole and 1 < peak <= _FLOAT_END):
            raise loudness_error(self._low, self._high, source)


def _whole(block: Array) -> bool:
    head = block.reshape(-1)[:_HEAD] if block.flags.c_contiguous else block[..., :_HEAD]
    return bool((head == np.rint(head)).all()) and bool((block == np.rint(block)).all())


def _require_bits(samples: Array, low: int, high: int, source: str) -> None:
    """Raise InputError for integers that use at most half of the bits of their type."""
    kind, half = samples.dtype, 4 * samples.dtype.itemsize
    full = 2 ** (2 * half - 1)
    if kind.kind == "u":
        if high < 2**half:
            bits = next(bits for bits in (8, 16, 32) if high < 2**bits)
            raise InputError(
                f"its {kind} samples go from {low} to {high}, and silence of {kind} is {full}",
                source=source,
                remedy=f"make them the type of their values: (waveform.astype(numpy.uint{bits}), rate)",
            )
    elif 0 < (peak := max(-low, high)) <= 2 ** (half - 1):
        if kind.itemsize == 4 and not (samples % 256).any():
            return  # 24-bit values, shifted to the upper bits of 32
        scale = divisor(peak)
        raise InputError(
            f"its {kind} samples go from {low} to {high}, and full scale of {kind} is {full}",
            source=source,
            remedy=f"divide them by what they were scaled by: (waveform / {scale}, rate) for "
            f"{scale.bit_length()}-bit values; if they are that quiet, (waveform / {full}, rate)",
        )
