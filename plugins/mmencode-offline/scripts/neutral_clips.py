"""Sounds of no particular kind, synthesised: what tags answer to anything at all is heard from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

RATE = 16_000
SECONDS = 3.0
_COUNT = int(RATE * SECONDS)
_TIME = np.arange(_COUNT) / RATE

# The strength of each harmonic: how a timbre differs from another.
_TIMBRES = {
    "pure": [1.0],
    "hollow": [1.0, 0.0, 0.33, 0.0, 0.2, 0.0, 0.14],
    "bright": [1.0, 0.5, 0.33, 0.25, 0.2, 0.17, 0.14, 0.13],
    "organ": [1.0, 0.8, 0.0, 0.6, 0.0, 0.0, 0.0, 0.4],
    "reed": [0.4, 1.0, 0.7, 0.9, 0.3, 0.5, 0.2, 0.1],
}


def clips() -> Iterator[Array]:
    """Every clip, `[48000]` at 16 kHz, the same at each call."""
    rng = np.random.default_rng(2024)
    for harmonics in _TIMBRES.values():
        for pitch in (110.0, 220.0, 440.0, 880.0):
            yield _scaled(_melody(rng, harmonics, pitch))
            yield _scaled(_tone(harmonics, pitch, _TIME) * np.minimum(1, _TIME / 0.2))
    for low, high in ((60, 200), (150, 800), (500, 3000), (2000, 7000)):
        for rate in (2.0, 5.0):
            yield _scaled(_percussion(rng, low, high, rate))
    for slope in (0.0, 0.5, 1.0, 1.5):
        noise = _noise(rng, slope)
        yield _scaled(noise)
        yield _scaled(noise * (0.6 + 0.4 * np.sin(2 * np.pi * 0.7 * _TIME)))


def _tone(harmonics: list[float], pitch: float, time: Array) -> Array:
    waves = [
        strength * np.sin(2 * np.pi * pitch * number * time)
        for number, strength in enumerate(harmonics, start=1)
        if pitch * number < RATE / 2
    ]
    return np.sum(waves, axis=0)


def _melody(rng: np.random.Generator, harmonics: list[float], pitch: float) -> Array:
    """Notes of a major scale that fade as a plucked string does, four a second."""
    melody = np.zeros(_COUNT)
    for start in range(0, _COUNT, RATE // 4):
        time = np.arange(_COUNT - start) / RATE
        step = rng.choice([0, 2, 4, 5, 7, 9, 11, 12])
        melody[start:] += _tone(harmonics, pitch * 2 ** (step / 12), time) * np.exp(-5 * time)
    return melody


def _percussion(rng: np.random.Generator, low: float, high: float, rate: float) -> Array:
    """Bursts of noise between two frequencies, `rate` a second."""
    clip = np.zeros(_COUNT)
    for start in range(0, _COUNT, int(RATE / rate)):
        time = np.arange(_COUNT - start) / RATE
        clip[start:] += _band(rng.standard_normal(len(time)), low, high) * np.exp(-18 * time)
    return clip


def _noise(rng: np.random.Generator, slope: float) -> Array:
    """Noise whose power falls with frequency to the power of `2 * slope`: white, pink, brown."""
    spectrum = np.fft.rfft(rng.standard_normal(_COUNT))
    frequency = np.maximum(np.fft.rfftfreq(_COUNT, 1 / RATE), 20.0)
    return np.fft.irfft(spectrum / frequency**slope, _COUNT)


def _band(noise: Array, low: float, high: float) -> Array:
    spectrum = np.fft.rfft(noise)
    frequency = np.fft.rfftfreq(len(noise), 1 / RATE)
    return np.fft.irfft(spectrum * ((frequency > low) & (frequency < high)), len(noise))


def _scaled(clip: Array) -> Array:
    return 0.5 * clip / np.abs(clip).max()
