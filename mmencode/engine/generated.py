"""A few generated items for each modality, always the same, to see what an encoder makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ..inputs import Waveform
from ..plugins.spec import AUDIO, IMAGE, TEXT

_TEXTS = (
    "a photo of a dog",
    "Two children fly a red kite over the harbour while an old man repairs his boat.",
    "thunder",
    "The meeting was moved from 9:30 to 14:00; please bring the signed forms, your badge and 3 copies.",
)


def generated_items(modality: str) -> list[Any]:
    """Make safe items as `Encoder.preprocess` takes them; none for a modality that only a plugin knows."""
    return {TEXT: _texts, IMAGE: _images, AUDIO: _sounds}.get(modality, list)()


def _texts() -> list[Any]:
    return list(_TEXTS)


def _images() -> list[Any]:
    """Smooth colours, hard edges, and grain, at several shapes."""
    images = []
    for seed, (height, width) in enumerate(((240, 320), (300, 200), (256, 256), (180, 400))):
        draw = np.random.default_rng(seed)
        y, x = np.mgrid[0:height, 0:width] / max(height, width)
        phases = draw.uniform(1, 12, (3, 3))
        waves = [np.sin(a * x * 6 + b * y * 6 + c) for a, b, c in phases]
        picture = np.stack(waves, axis=-1) * 90 + 128  # [h, w, 3]
        picture[height // 4 : height // 2, width // 3 :] = draw.uniform(0, 255, 3)
        picture += draw.normal(0, 12, picture.shape)
        images.append(Image.fromarray(picture.clip(0, 255).astype(np.uint8)))
    return images


def _sounds() -> list[Any]:
    """Tones that fade, a rising tone, and noise, about a second each at 16 kHz."""
    time = np.arange(16000) / 16000
    sounds = [
        np.sin(2 * np.pi * 440 * time) * np.exp(-3 * time),
        np.sin(2 * np.pi * (100 + 1500 * time) * time),
        np.random.default_rng(0).normal(0, 0.2, 16000) * (1 - time),
    ]
    return [Waveform(sound.astype(np.float32), 16000) for sound in sounds]
