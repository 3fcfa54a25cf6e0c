"""Waveforms, the recordings that encoders receive, are checked when made, and resampled at bounded cost."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np
import torch

from ..arguments.brief import Brief
from ..errors import InputError
from .resampling import resample

Samples = np.ndarray[Any, np.dtype[np.float32]]

MAX_RATE = 1_000_000
LOUDEST = 16.0  # 24 dB over full scale; louder floats are integers that were cast to float
_LARGEST = 2**28  # that resampling may produce, or eight times the samples before if that is more
MOST_COEFFICIENTS = 2**22  # coefficients of a filter bank for resampling
_PITCH_CHANGE = Fraction(1, 10_000)  # relative change of pitch that a simpler ratio may cause


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Waveform(Brief):
    """A mono recording of finite float32 samples `[n]`, n > 0, with their rate in Hz.

    Full scale is -1 to 1. Samples may exceed it, up to 16; beyond that they are on the scale of integers.
    Raises InputError for anything else, so that every Waveform is valid.
    """

    samples: Samples
    rate: int

    def __post_init__(self) -> None:
        require_rate(self.rate, _SOURCE)
        object.__setattr__(self, "rate", int(self.rate))
        object.__setattr__(self, "samples", _require_samples(self.samples))

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return len(self.samples) / self.rate

    def resample(self, rate: int) -> Waveform:
        """Convert to another rate by windowed sinc interpolation, as torchaudio does; returns a new Waveform.

        Ratios of usual rates are exact. One that needs a large filter bank is approximated, which changes
        the pitch by less than a thousandth. Raises InputError where a recording at a tiny rate would become
        more than 2^28 samples.
        """
        require_rate(rate, "Waveform.resample(rate)")
        if rate == self.rate:
            return self
        count = len(self.samples) * rate // self.rate
        if count > max(_LARGEST, 8 * len(self.samples)):
            raise InputError(
                f"at {rate} Hz its {len(self.samples)} samples become {count}, and {_LARGEST} are the most",
                source=f"a recording of {self.seconds:.0f} s at {self.rate} Hz",
                remedy="cut it into shorter ones, or check its rate",
                fault="limit",
            )
        ratio = ratio_near(rate, self.rate)
        samples = resample(torch.from_numpy(self.samples), ratio.denominator, ratio.numerator).numpy()
        return Waveform(np.clip(samples, -LOUDEST, LOUDEST), rate)  # interpolation may overshoot a little

    resampled = resample  # the former name, kept for one release


_SOURCE = "Waveform(samples, rate)"


def waveform_from(samples: Samples, rate: int, source: str) -> Waveform:
    """Make a Waveform of samples; its InputError names `source`, the item that they came from."""
    try:
        return Waveform(samples, rate)
    except InputError as error:
        error.source = source
        raise


def require_rate(rate: Any, source: str) -> None:
    """Raise InputError unless the rate is an int from 1 to 1 000 000 Hz."""
    if type(rate) is bool or not isinstance(rate, (int, np.integer)):
        shown = f"{rate!r}" if isinstance(rate, (bool, float, str, np.generic)) else type(rate).__name__
        raise InputError(f"the rate is {shown}", source=source, remedy="pass it in Hz, as an int")
    if not 0 < rate <= MAX_RATE:
        raise InputError(f"the rate is {rate} Hz", source=source, remedy=f"make it 1 to {MAX_RATE} Hz")


def divisor(peak: float) -> int:
    """The full scale of the narrowest integer type, of 16, 24 or 32 bits, that can hold this peak."""
    return next((scale for scale in (2**15, 2**23) if peak <= scale), 2**31)


def loudness_error(low: float, high: float, source: str) -> InputError:
    """The InputError for floats on the scale of integers, with the divisor in its remedy."""
    scale = divisor(max(-low, high))
    remedy = f"samples / {scale} for {scale.bit_length()}-bit values"
    if low >= 0 and 128 < high < 256:
        remedy = "(samples - 128) / 128 for unsigned 8-bit values"
    return InputError(
        f"its samples go from {low:g} to {high:g}, and full scale is -1 to 1",
        source=source,
        remedy=f"divide them by what they were scaled by: {remedy}",
    )


def _require_samples(samples: Any) -> Samples:
    if not isinstance(samples, np.ndarray):
        raise InputError(
            f"the samples are {type(samples).__name__}, no numpy array",
            source=_SOURCE,
            remedy="pass a numpy array; tensor.numpy() makes one of a tensor",
        )
    if samples.dtype != np.float32:
        raise InputError(
            f"the samples' type is {samples.dtype}",
            source=_SOURCE,
            remedy="make them float32 from -1 to 1; "
            "encode('audio', [(waveform, rate)]) takes integers and other floats too",
        )
    if samples.ndim != 1:
        raise InputError(
            f"the samples' shape is {samples.shape}",
            source=_SOURCE,
            remedy="make them [n], one channel; waveform.mean(axis=0) mixes [channels, n]",
        )
    if not len(samples):
        raise InputError("it has no samples", source=_SOURCE, remedy="leave it out")
    low, high = samples.min(), samples.max()  # NaN where there is one
    if not (low >= -LOUDEST and high <= LOUDEST):
        finite = np.isfinite(samples)
        if finite.all():
            raise loudness_error(low, high, _SOURCE)
        first = int(np.argmin(finite))
        raise InputError(
            f"its sample {first} is {samples[first]}",
            source=_SOURCE,
            remedy="samples must be finite; clean them: numpy.nan_to_num(waveform)",
        )
    return np.ascontiguousarray(samples)


def ratio_near(rate: int, before: int) -> Fraction:
    """The ratio of two rates, or a simpler one near it where the exact one needs a large filter bank.

    A bank has one filter for each unit of the numerator, each about as long as the denominator.
    """
    exact = Fraction(rate, before)
    near = exact.limit_denominator(1000)
    if near.numerator * near.denominator <= MOST_COEFFICIENTS and abs(near / exact - 1) <= _PITCH_CHANGE:
        return near
    return exact.limit_denominator(max(1, isqrt(MOST_COEFFICIENTS * before // rate)))
