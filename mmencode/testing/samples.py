"""Generate sample items of every modality, the same on every machine, of different sizes and lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..engine.generated import combine_items, generated_items
from ..inputs.reading import load_target
from ..plugins.composites import is_composite, parts_of
from ..plugins.modalities import find_modality

_WORDS = (
    *("a", "red", "car", "on", "the", "road", "and", "two", "dogs", "under", "an", "old", "bridge"),
    *("in", "the", "rain", "near", "the", "quiet", "harbour"),
)


def sample_items(modality: str, count: int = 8, *, parts: Sequence[str] = ()) -> list[Any]:
    """Generate `count` different items of a modality: texts, RGB `PIL.Image`s, or `(waveform, rate)` pairs.

    Those of a composite have a sample of each part; `parts` are the modalities of interleaved items. For a
    modality that declares no samples they are its probes, at most `count`. Raises ValueError for one that
    declares neither, whose conformance tests set `items` themselves.
    """
    if is_composite(modality):
        each = [sample_items(part, count) for part in parts or parts_of(modality)]
        return combine_items(modality, each, parts)
    spec = find_modality(modality)
    if spec is not None and spec.samples:
        return list(load_target(spec, "samples")(count))
    items = generated_items(modality)[:count]
    if not items:
        raise ValueError(f"there are no sample items of {modality!r}: set `items` to your own")
    return items


def texts(count: int) -> list[str]:
    """Generate texts of different lengths."""
    return [_text(number) for number in range(count)]


def images(count: int) -> list[Image.Image]:
    """Generate pictures of different widths."""
    return [_image(number) for number in range(count)]


def sounds(count: int) -> list[tuple[np.ndarray[Any, Any], int]]:
    """Generate tones of different lengths and rates."""
    return [_audio(number) for number in range(count)]


def _text(number: int) -> str:
    words = _WORDS[: 2 + (number * 7) % len(_WORDS)]
    return " ".join((str(number), *words))  # the number comes first, so that truncated texts still differ


def _image(number: int) -> Image.Image:
    random = np.random.default_rng(number)
    coarse = random.integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize((64 + 16 * number, 96), Image.Resampling.BILINEAR)


def _audio(number: int) -> tuple[np.ndarray[Any, Any], int]:
    rate = (16000, 44100, 8000)[number % 3]
    time = np.arange(int(rate * (0.3 + 0.4 * number))) / rate
    return (0.3 * np.sin(2 * np.pi * (220 + 110 * number) * time)).astype(np.float32), rate
