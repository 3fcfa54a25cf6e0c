"""Items without one of their parts each, by which the page shows what in an item makes it match another.

The contribution of a part is the score of the whole item less that of the item without it: occlusion (Zeiler
& Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014), and for words and sounds erasure
(Li, Monroe & Jurafsky, "Understanding Neural Networks through Representation Erasure", 2016). It holds for
any encoder, since it asks only for vectors; contributions needn't add up to the score.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InputError
from ..inputs import Limits, Waveform, reader
from ..plugins.spec import AUDIO, IMAGE, TEXT

WORDS = 64  # of a text, from its start
CELLS = 36  # of a picture, about
SEGMENTS = 16  # of a recording
SAMPLES = 2**21  # of a recording, which is held once for each segment
SIDE = 512  # pixels of the longer side of a picture, which is shrunk to it first
_SHORTEST = 0.1  # seconds of a segment
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, eq=False, slots=True)
class Parts:
    """An item, and the same item without each of its parts.

    whole     the item as its parts are taken from it
    without   items, one for each part
    names     of the parts: words, places such as "row 1, column 2", or seconds from and to
    shape     rows and columns in which a picture's parts lie, (1, n) for others
    """

    whole: Any
    without: Sequence[Any]
    names: tuple[str, ...]
    shape: tuple[int, int]


def cut_item(modality: str, item: Any, limits: Limits) -> Parts:
    """Cut an item of text, image or audio into parts; raises InputError where it can't be read or cut.

    A picture is shrunk to SIDE pixels, and a part of it gets the picture's mean colour. Of a recording it
    becomes silent. A word is left out with its spaces.
    """
    cut = CUT.get(modality)
    if cut is None:
        raise InputError(
            "items of this modality can't be cut into parts here",
            source="the item",
            remedy=f"choose an item of {', '.join(CUT)}",
        )
    parts = cut(reader(modality)(item, limits))
    if len(parts.without) < 2:
        raise InputError(
            "it has a single part, and nothing is left without it",
            source="the item",
            remedy="choose a longer item",
        )
    return parts


def _cut_text(text: str) -> Parts:
    words = list(_WORD.finditer(text))[:WORDS]
    without = [f"{text[: word.start()]}{text[word.end() :].lstrip()}" for word in words]
    kept = [place for place, left in enumerate(without) if left.strip()]
    names = tuple(words[place][0] for place in kept)
    return Parts(text, [without[place] for place in kept], names, (1, len(kept)))


def _cut_image(picture: Image.Image) -> Parts:
    whole = picture.copy()
    whole.thumbnail((SIDE, SIDE))
    rows, columns = _choose_grid(whole.width, whole.height)
    mean = tuple(round(float(value)) for value in np.asarray(whole).reshape(-1, 3).mean(axis=0))
    without, names = [], []
    for row in range(rows):
        for column in range(columns):
            box = (
                *(whole.width * column // columns, whole.height * row // rows),
                *(whole.width * (column + 1) // columns, whole.height * (row + 1) // rows),
            )
            without.append(whole.copy())
            without[-1].paste(mean, box)
            names.append(f"row {row + 1}, column {column + 1}")
    return Parts(whole, without, tuple(names), (rows, columns))


def _choose_grid(width: int, height: int) -> tuple[int, int]:
    """Choose the rows and columns of about CELLS cells, nearly square and no smaller than a pixel."""
    rows = round((CELLS * height / width) ** 0.5)
    columns = round((CELLS * width / height) ** 0.5)
    return min(max(rows, 1), CELLS, height), min(max(columns, 1), CELLS, width)


def _cut_audio(recording: Waveform) -> Parts:
    if len(recording.samples) > SAMPLES:
        raise InputError(
            f"{recording.seconds:.0f} s at {recording.rate} Hz are too long to be cut into parts",
            source="the item",
            remedy=f"choose one of up to {SAMPLES // recording.rate} s",
            fault="limit",
        )
    count = min(SEGMENTS, max(1, int(recording.seconds / _SHORTEST)))
    ends = np.linspace(0, len(recording.samples), count + 1).round().astype(int)
    without, names = [], []
    for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        samples = recording.samples.copy()
        samples[start:end] = 0
        without.append(Waveform(samples, recording.rate))
        names.append(f"{start / recording.rate:.1f} to {end / recording.rate:.1f} s")
    return Parts(recording, without, tuple(names), (1, count))


CUT: dict[str, Callable[[Any], Parts]] = {TEXT: _cut_text, IMAGE: _cut_image, AUDIO: _cut_audio}
