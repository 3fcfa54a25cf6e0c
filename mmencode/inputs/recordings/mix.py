"""The mean of a recording's channels, made block by block, with its limits held at every block."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import InputError
from ..limits import Limits, raising
from ..waveform import Samples, require_rate

_EACH = 8  # bytes that a sample of the mix takes: in its block, and again when the blocks are joined
_CANCELLED = 1e-4  # of the power that the channels have; 40 dB down, which no mix comes to by itself


class Mix:
    """One channel that grows. Raises InputError, naming the source, for what passes a limit."""

    def __init__(self, source: str, limits: Limits) -> None:
        self.count = 0
        self.rate = 0
        self.peak = 0.0
        self._source = source
        self._limits = limits
        self._blocks: list[Samples] = []
        self._values = 0  # samples over all channels
        self._power, self._mixed_power = 0.0, 0.0  # the channels' mean, and the mix's

    def expect(self, frames: int, channels: int, rate: int) -> int:
        """The bytes that so many more samples will take; InputError where they would pass a limit."""
        self._turn_to(rate)
        self._require(self.count + frames, self._values + frames * channels)
        return (self.count + frames) * _EACH

    @np.errstate(over="ignore", invalid="ignore")
    def add(self, channels: np.ndarray[Any, Any], axis: int, rate: int) -> None:
        """Take in a block of float32, `[k, channels]` or the other way round, its channels along an axis."""
        self._turn_to(rate)
        mixed = channels.mean(axis=axis, dtype=np.float32)
        self._blocks.append(mixed)
        if mixed.size:
            self.peak = max(self.peak, float(mixed.max()), -float(mixed.min()))
        self.count += len(mixed)
        self._values += channels.size
        self._require(self.count, self._values)
        if channels.size > mixed.size:
            self._power += _power(channels) / (channels.size // mixed.size)
            self._mixed_power += _power(mixed)

    def samples(self) -> Samples:
        """All of it `[n]`. Raises InputError for channels that cancel each other."""
        if self._mixed_power < _CANCELLED * self._power:
            raise InputError(
                "its channels cancel each other: mixed to one, they are silent",
                source=self._source,
                remedy="pass one of them: waveform, rate = soundfile.read(path, always_2d=True), "
                "then (waveform[:, 0], rate)",
            )
        return np.concatenate(self._blocks) if self._blocks else np.zeros(0, np.float32)

    def _turn_to(self, rate: int) -> None:
        require_rate(rate, self._source)
        if self.count and rate != self.rate:
            raise InputError(
                f"its rate changes from {self.rate} to {rate} Hz after {self.count / self.rate:.1f} s",
                source=self._source,
                remedy="split it there, or bring it to one rate",
            )
        self.rate = rate

    def _require(self, count: int, values: int) -> None:
        limits = self._limits
        if count > limits.seconds * self.rate:
            fact = f"it is {count / self.rate:.1f} s long, and the limit is {limits.seconds:g} s"
            raise self._beyond("seconds", fact)
        if values > limits.samples:
            fact = f"it has {values} samples in all its channels, and the limit is {limits.samples}"
            raise self._beyond("samples", fact)
        if count * _EACH > limits.memory:
            fact = f"its {count} samples take {count * _EACH} bytes, and the limit is {limits.memory}"
            raise self._beyond("memory", fact)

    def _beyond(self, name: str, fact: str) -> InputError:
        return InputError(fact, source=self._source, remedy=f"cut it, or {raising(name)}", fault="limit")


def _power(block: np.ndarray[Any, Any]) -> float:
    """The sum of squares, without a copy where that can be."""
    rows = (block.reshape(-1),) if block.flags.c_contiguous else block
    return float(sum(np.dot(row, row) for row in rows))
