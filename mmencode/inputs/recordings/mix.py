"""Mixing to mono block by block, with the limits enforced at every block."""

from __future__ import annotations

from contextlib import AbstractContextManager
from math import ceil
from typing import Any

import numpy as np

from ...errors import InputError
from ..gate import common_gate
from ..limits import Limits, limit_remedy
from ..waveform import Samples, require_rate

_EACH = 8  # bytes for each sample of the mix: in its block, and again in the joined array
# No compression of sound puts more than _SPARSE samples into a byte. A recording with more is silent or a
# decompression bomb, and may take 1/_PART of the memory limit.
_SPARSE, _PART = 250, 8
_CANCELLED = 1e-4  # of the channels' power: a mix 40 dB below them has lost the signal


class Mix:
    """A growing mono mix of a recording; InputError, naming `source`, as soon as a limit is exceeded.

    `length` is the size of the file in bytes; None for arrays.
    """

    count: int
    rate: int
    peak: float

    def __init__(self, source: str, limits: Limits, length: int | None = None) -> None:
        self.count = 0
        self.rate = 0
        self.peak = 0.0
        self._source = source
        self._limits = limits
        self._length = length
        self._blocks: list[Samples] = []
        self._values = 0  # samples of all channels together
        # Sums of squares over time: the mean of the channels', and that of the mix.
        self._power, self._mixed_power = 0.0, 0.0

    def require(self, frames: int, channels: int, rate: int, last: bool = True) -> None:
        """Raise InputError if so many more frames would exceed a limit; `last` if no more follow them."""
        self._set_rate(rate)
        self._require(self.count + frames, self._values + frames * channels, last)

    def room(
        self, frames: int | None, channels: int, rate: int, last: bool = True
    ) -> AbstractContextManager[None]:
        """Hold the memory of so many more frames at the process's gate while the block runs.

        If their number is unknown, None, it is the largest that the limits allow. Raises InputError if the
        frames would exceed a limit, or no room comes free.
        """
        self.require(frames or 0, channels, rate, last)
        if frames is None:
            limits = self._limits
            most = min(limits.seconds * rate, limits.samples / channels, limits.memory / _EACH)
            frames = max(0, int(most) - self.count)
        nbytes = (self.count + frames) * _EACH
        return common_gate.holding(nbytes, self._limits.wait, self._source)

    @np.errstate(over="ignore", invalid="ignore")
    def add(self, channels: np.ndarray[Any, Any], axis: int, rate: int) -> None:
        """Add a float32 block, `[k, channels]` or `[channels, k]`, with the channels along `axis`."""
        self._set_rate(rate)
        mixed = channels.mean(axis=axis, dtype=np.float32)
        self._blocks.append(mixed)
        if mixed.size:
            self.peak = max(self.peak, float(mixed.max()), -float(mixed.min()))
        self.count += len(mixed)
        self._values += channels.size
        self._require(self.count, self._values, last=False)
        if channels.size > mixed.size:
            self._power += _power(channels) / (channels.size // mixed.size)
            self._mixed_power += _power(mixed)

    def samples(self) -> Samples:
        """Join the mix to one array `[n]`; InputError if the channels cancel each other out."""
        if self._mixed_power < _CANCELLED * self._power:
            raise InputError(
                "its channels cancel each other: mixed to one, they are silent",
                source=self._source,
                remedy="pass one of them: waveform, rate = soundfile.read(path, always_2d=True), "
                "then (waveform[:, 0], rate)",
            )
        if len(self._blocks) == 1:
            return self._blocks[0]
        return np.concatenate(self._blocks) if self._blocks else np.zeros(0, np.float32)

    def _set_rate(self, rate: int) -> None:
        require_rate(rate, self._source)
        if self.count and rate != self.rate:
            raise InputError(
                f"its rate changes from {self.rate} to {rate} Hz after {self.count / self.rate:.1f} s",
                source=self._source,
                remedy="split it there, or resample it to one rate",
            )
        self.rate = rate

    def _require(self, count: int, values: int, last: bool) -> None:
        """Raise InputError beyond a limit; its remedy has the needed value if `last` makes it known."""
        limits = self._limits
        if count > limits.seconds * self.rate:
            fact = f"it is {count / self.rate:.1f} s long, and the limit is {limits.seconds:g} s"
            raise self._limit_error("seconds", fact, ceil(count / self.rate) if last else None)
        if values > limits.samples:
            fact = f"it has {values} samples in all its channels, and the limit is {limits.samples}"
            raise self._limit_error("samples", fact, values if last else None)
        part = _PART if self._length and values > _SPARSE * self._length else 1
        if count * _EACH > limits.memory // part:
            why = f": a file of {self._length} bytes for {values} samples may take 1/{part} of Limits.memory"
            fact = f"its {count} samples take {count * _EACH} bytes, and the limit is {limits.memory // part}"
            raise self._limit_error("memory", fact + why * (part > 1), count * _EACH * part if last else None)

    def _limit_error(self, name: str, fact: str, number: int | None) -> InputError:
        return InputError(
            fact, source=self._source, remedy=f"cut it, or {limit_remedy(name, number)}", fault="limit"
        )


def _power(block: np.ndarray[Any, Any]) -> float:
    """The sum of squares of a block, computed without a copy of it."""
    rows = (block.reshape(-1),) if block.flags.c_contiguous else block
    return float(sum(np.dot(row, row) for row in rows))
