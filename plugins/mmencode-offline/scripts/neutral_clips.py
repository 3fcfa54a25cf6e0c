"""Sounds of no particular kind: how strongly each tag answers to anything at all is heard from them.

Notes of every instrument of General MIDI, percussion, synthesised speech and noise; 1 900 or so in all. They
need a soundfont (Debian: apt install fluid-soundfont-gm), espeak-ng (apt install espeak-ng) and tinysoundfont
(pip install --no-deps tinysoundfont).
"""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

Samples = np.ndarray[Any, np.dtype[np.float32]]

SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
RATE = 44_100
SECONDS = 2.0

_PROGRAMS, _PITCHES, _VELOCITIES = range(128), (36, 48, 60, 72, 84), (60, 110)
_DRUMS, _GAPS = range(35, 82), (SECONDS, 0.5, 0.25, 0.125)
_DRUM_CHANNEL, _DRUM_BANK = 9, 128
_VOICES = tuple(
    f"{language}+{variant}"
    for language in ("en", "en-us", "de", "fr", "es")
    for variant in ("m1", "m3", "m5", "m7", "f1", "f2", "f3", "f4", "whisper", "croak")
)
_SENTENCES = (
    "The meeting was moved to the afternoon, so please bring your notes.",
    "A long time ago there lived a king who had three sons.",
    "Would you like some more tea?",
    "Turn left at the next corner, then go straight on for two miles.",
    "Nobody knows why the old bridge was never finished.",
    "One, two, three, four, five, six, seven, eight.",
    "I am sorry, the number that you have dialled is not available.",
    "Sunny spells are expected in the south, and more clouds in the north.",
)
_SLOPES, _SEEDS = (0.0, 0.5, 1.0, 1.5), range(8)


@dataclass(frozen=True, eq=False, slots=True)
class Clip:
    """Samples `[n]` whose largest is 0.5, and their rate in Hz."""

    samples: Samples
    rate: int


def clips(soundfont: Path = SOUNDFONT) -> Iterator[Clip]:
    """Every clip, the same at each call, but for those that the soundfont has no sound for."""
    band = _Band(soundfont)
    yield from band.notes()
    yield from band.percussion()
    yield from speech()
    yield from noises()


class _Band:
    """The instruments of a soundfont, played one at a time."""

    def __init__(self, soundfont: Path) -> None:
        import tinysoundfont

        self._synth = tinysoundfont.Synth(samplerate=RATE)
        self._font = self._synth.sfload(str(soundfont))

    def notes(self) -> Iterator[Clip]:
        """Each instrument, low to high, soft and loud, held for most of the clip."""
        for program in _PROGRAMS:
            self._synth.program_select(0, self._font, 0, program)
            for pitch in _PITCHES:
                for velocity in _VELOCITIES:
                    yield from self._played(0, pitch, velocity, [0.0])

    def percussion(self) -> Iterator[Clip]:
        """Each drum of the standard kit, once and at several tempos."""
        self._synth.program_select(_DRUM_CHANNEL, self._font, _DRUM_BANK, 0, True)
        for drum in _DRUMS:
            for gap in _GAPS:
                yield from self._played(_DRUM_CHANNEL, drum, 100, np.arange(0, SECONDS, gap).tolist())

    def _played(self, channel: int, pitch: int, velocity: int, starts: list[float]) -> Iterator[Clip]:
        """One clip with the note begun anew at each start; none where the instrument lacks the note."""
        parts = []
        for start, end in zip(starts, [*starts[1:], SECONDS], strict=True):
            self._synth.noteon(channel, pitch, velocity)
            stereo = np.frombuffer(self._synth.generate(round((end - start) * RATE)), np.float32)
            parts.append(stereo.reshape(-1, 2).mean(axis=1))
            self._synth.noteoff(channel, pitch)
        self._synth.sounds_off(channel)
        samples = np.concatenate(parts)
        if np.abs(samples).max() > 1e-4:
            yield Clip(_scaled(samples), RATE)


def speech() -> Iterator[Clip]:
    """Every sentence in every voice, faster and higher from one to the next."""
    for voice in _VOICES:
        for place, sentence in enumerate(_SENTENCES):
            settings = ["-v", voice, "-s", str(120 + 15 * place), "-p", str(30 + 6 * place)]
            command = ["espeak-ng", *settings, "--stdout", sentence]
            spoken = subprocess.run(command, capture_output=True, check=True).stdout
            samples, rate = soundfile.read(io.BytesIO(spoken), dtype="float32")
            yield Clip(_scaled(samples[: int(SECONDS * rate)]), rate)


def noises() -> Iterator[Clip]:
    """Noise whose power falls with frequency to the power of twice the slope, steady and swelling."""
    count = int(SECONDS * RATE)
    time = np.arange(count) / RATE
    frequency = np.maximum(np.fft.rfftfreq(count, 1 / RATE), 20.0)
    for seed in _SEEDS:
        rng = np.random.default_rng(seed)
        for slope in _SLOPES:
            spectrum = np.fft.rfft(rng.standard_normal(count))
            noise = np.fft.irfft(spectrum / frequency**slope, count)
            yield Clip(_scaled(noise), RATE)
            yield Clip(_scaled(noise * (0.6 + 0.4 * np.sin(2 * np.pi * 0.7 * time))), RATE)


def _scaled(samples: np.ndarray[Any, Any]) -> Samples:
    return (0.5 * samples / np.abs(samples).max()).astype(np.float32)
