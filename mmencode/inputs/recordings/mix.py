"""The mean of a recording's channels, made block by block, with its limits held at every block."""

from __future__ import annotations

from contextlib import AbstractContextManager
from math import ceil
from typing import Any

import numpy as np

from ...errors import InputError
from ..gate import common_gate
from ..limits import Limits, raising
from ..waveform import Samples, require_rate

_EACH = 8  # bytes that a sample of the mix takes: in its block, and again when the blocks are joined
# No coding of sound takes less than a byte for so many samples. What does is silent, or made to cost much,
# and may take only such a part of the memory that others may.
_SPARSE, _PART = 250, 8
_CANCELLED = 1e-4  # of the power that the channels have; 40 dB down, which no mix comes to by itself


class Mix:
    """One channel that grows. Raises InputError, naming the source, for what passes a limit.

    `length` is that of the file in bytes; None for what is no file.
    """

    def __init__(self, source: str, limits: Limits, length: int | None = None) -> None:
        self.count = 0
        self.rate = 0
        self.peak = 0.0
        self._source = source
        self._limits = limits
        self._length = length
        self._blocks: list[Samples] = []
        self._values = 0  # samples over all channels
        self._power, self._mixed_power = 0.0, 0.0  # the channels' mean, and the mix's

    def require(self, frames: int, channels: int, rate: int, last: bool = True) -> None:
        """Raise InputError where so many more frames would pass a limit; none come behind the `last`."""
        self._turn_to(rate)
        self._require(self.count + frames, self._values + frames * channels, last)

    def room(
        self, frames: int | None, channels: int, rate: int, last: bool = True
    ) -> AbstractContextManager[None]:
        """Come in by the gate that all decoding shares, with what so many more frames will take.

        Where nothing tells how many there are, None, that is as much as the limits let be decoded.
        InputError where they would pass a limit, or where no room comes free.
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
        """Take in a block of float32, `[k, channels]` or the other way round, its channels along an axis."""
        self._turn_to(rate)
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
        """All of it `[n]`. Raises InputError for channels that cancel each other."""
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

    def _turn_to(self, rate: int) -> None:
        require_rate(rate, self._source)
        if self.count and rate != self.rate:
            raise InputError(
                f"its rate changes from {self.rate} to {rate} Hz after {self.count / self.rate:.1f} s",
                source=self._source,
                remedy="split it there, or bring it to one rate",
            )
        self.rate = rate

    def _require(self, count: int, values: int, last: bool) -> None:
        """Raise InputError beyond a limit, saying what it has to be raised to where that is known."""
        limits = self._limits
        if count > limits.seconds * self.rate:
            fact = f"it is {count / self.rate:.1f} s long, and the limit is {limits.seconds:g} s"
            raise self._beyond("seconds", fact, ceil(count / self.rate) if last else None)
        if values > limits.samples:
            fact = f"it has {values} samples in all its channels, and the limit is {limits.samples}"
            raise self._beyond("samples", fact, values if last else None)
        part = _PART if self._length and values > _SPARSE * self._length else 1
        if count * _EACH > limits.memory // part:
            why = f": a file of {self._length} bytes for {values} samples may take 1/{part} of Limits.memory"
            fact = f"its {count} samples take {count * _EACH} bytes, and the limit is {limits.memory // part}"
            raise self._beyond("memory", fact + why * (part > 1), count * _EACH * part if last else None)

    def _beyond(self, name: str, fact: str, number: int | None) -> InputError:
        return InputError(
            fact, source=self._source, remedy=f"cut it, or {raising(name, number)}", fault="limit"
        )


def _power(block: np.ndarray[Any, Any]) -> float:
    """The sum of squares, without a copy where that can be."""
    rows = (block.reshape(-1),) if block.flags.c_contiguous else block
    return float(sum(np.dot(row, row) for row in rows))
