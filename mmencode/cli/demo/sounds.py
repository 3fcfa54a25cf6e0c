"""Sounds for the demo, computed by formula, since no dependency of mmencode ships recordings."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable
from typing import Any

import numpy as np

from ...plugins.spec import AUDIO
from .sections import Collection

Samples = np.ndarray[Any, np.dtype[np.float64]]

RATE = 16_000
SECONDS = 3.0

LABELS = (
    *("siren", "ringing telephone", "crickets", "singing bird", "ticking clock", "ocean waves", "truck horn"),
    *("heartbeat", "dog barking", "rain", "thunder", "helicopter", "piano", "guitar", "car engine"),
    *("applause", "crying baby", "chainsaw", "church bell", "frog"),
)

SENTENCES = (
    "an ambulance is coming",
    "somebody is calling",
    "insects on a summer night",
    "a day at the seaside",
    "time goes by",
    "a truck wants to get past",
)


def _time() -> Samples:
    return np.arange(int(RATE * SECONDS)) / RATE


def _tone(pitch: float | Samples, time: Samples) -> Samples:
    tone: Samples = np.sin(2 * np.pi * pitch * time)
    return tone


def _noise() -> Samples:
    return np.random.default_rng(0).standard_normal(int(RATE * SECONDS))


def siren() -> Samples:
    """A tone with two overtones that wails between 600 and 1400 Hz."""
    time = _time()
    phase = 2 * np.pi * 1000 * time - 400 / 0.7 * np.cos(2 * np.pi * 0.7 * time)
    wail: Samples = np.sin(phase) + np.sin(2 * phase) / 2 + np.sin(3 * phase) / 3
    return wail


def telephone() -> Samples:
    """Five partials of a bell, struck 22 times a second, for one second of every one and a half."""
    time = _time()
    partials = [
        _tone(pitch, time) / (1 + place) for place, pitch in enumerate((1000, 1330, 2000, 2660, 3400))
    ]
    ringing: Samples = np.sum(partials, axis=0) * (1 + 0.9 * np.sign(_tone(22, time))) * (time % 1.5 < 1.0)
    return ringing


def crickets() -> Samples:
    """Chirps at 4500 Hz, thirty pulses a second."""
    time = _time()
    return _tone(4500, time) * np.maximum(_tone(30, time), 0) * (time % 0.7 < 0.35)


def bird() -> Samples:
    """A short whistle every 0.36 seconds that warbles around 3500 Hz."""
    since = _time() % 0.36
    phase = 2 * np.pi * 3500 * since - 900 / 14 * np.cos(2 * np.pi * 14 * since)
    whistle: Samples = np.sin(phase) * np.sin(np.pi * since / 0.18) ** 2 * (since < 0.18)
    return whistle


def clock() -> Samples:
    """A click every half second, tick and tock in turn."""
    time = _time()
    since = time % 0.5
    click = _tone(np.where(time % 1.0 < 0.5, 3200, 2600), since) + 0.5 * _noise()
    ticking: Samples = np.exp(-250 * since) * click
    return ticking


def surf() -> Samples:
    """Noise that swells and falls every three seconds."""
    swell: Samples = np.maximum(_tone(1 / 3, _time() - 0.3), 0)
    return np.convolve(_noise(), np.ones(8) / 8, mode="same") * (0.1 + swell**1.5)


def horn() -> Samples:
    """Four square waves at once, as a truck or a train has them."""
    time = _time()
    waves: Samples = np.sum([np.sign(_tone(pitch, time)) for pitch in (311, 370, 415, 494)], axis=0)
    return waves * (time < 2.2)


def heartbeat() -> Samples:
    """Two dull thuds, 0.3 seconds apart, seventy times a minute."""
    first = _time() % 0.857
    second = np.maximum(first - 0.3, 0)
    thuds: Samples = np.exp(-18 * first) * _tone(55, first) + 0.7 * np.exp(-22 * second) * _tone(70, second)
    return thuds


SOUNDS: dict[str, Callable[[], Samples]] = {
    "siren.wav": siren,
    "telephone.wav": telephone,
    "crickets.wav": crickets,
    "bird.wav": bird,
    "clock.wav": clock,
    "surf.wav": surf,
    "horn.wav": horn,
    "heartbeat.wav": heartbeat,
}


def collection() -> Collection:
    """Synthesise each sound as a WAV file, mono, 16 bits."""
    return Collection(
        modality=AUDIO,
        noun="synthesised sound",
        origin="Sounds computed by formula, not recordings, chosen so that an audio encoder can tell them "
        "apart.",
        items={name: _wav(make()) for name, make in SOUNDS.items()},
        labels=LABELS,
        sentences=SENTENCES,
    )


def _wav(samples: Samples) -> bytes:
    scaled = np.round(samples / np.abs(samples).max() * 0.7 * 32767).astype("<i2")
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(scaled.tobytes())
    return content.getvalue()
