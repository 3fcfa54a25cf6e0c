"""Training texts: WordNet's synset definitions, which timm ships, with a teacher's vectors of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor

from mmencode import Embeddings, Space
from mmencode.errors import SpaceMismatchError

_TEST, _STOP = 1000, 500  # texts at most; a fifth and a tenth where there are few
Side = tuple[list[str], Tensor]


@dataclass(frozen=True, slots=True)
class Split:
    """Texts with the teacher's unit vectors `[n, dim]`, to train on, for early stopping, and to test."""

    train: Side
    stop: Side
    test: Side


def definitions(limit: int | None = None) -> list[str]:
    """List synonyms and definition of each of ImageNet-22k's 21 841 synsets, or of `limit` of them."""
    info: Any = ImageNetInfo("imagenet-22k")
    count = info.num_classes()
    chosen = np.linspace(0, count - 1, min(limit or count, count)).round().astype(int)
    return [info.index_to_description(int(index), detailed=True) for index in chosen]


def encode_targets(space: Space, texts: Sequence[str], cache: Path | None = None) -> Tensor:
    """Encode texts by the teacher's space to vectors `[n, dim]`, or read them from the file `cache`.

    The file is written where it isn't there. Raises SpaceMismatchError when it holds vectors of another
    space, ValueError when it lacks a text.
    """
    keys = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    if cache is None or not cache.exists():
        found = space.encode("text", texts, progress=True).with_keys(keys)
        if cache is not None:
            found.save(cache)
        return found.torch().clone()
    found = Embeddings.load(cache)
    if found.space != space.id:
        raise SpaceMismatchError(
            f"{str(cache)!r} holds vectors of {found.space}, and the space is {space.id}",
            remedy="name another file; it is written where there is none",
        )
    rows = {key: row for row, key in enumerate(found.keys or ())}
    if lacking := sum(key not in rows for key in keys):
        raise ValueError(f"{str(cache)!r} lacks {lacking} of {len(keys)} texts: name another file")
    return torch.tensor(found.vectors[[rows[key] for key in keys]])


def split(texts: Sequence[str], vectors: Tensor, seed: int) -> Split:
    """Divide texts and vectors at random: up to 1000 to test, 500 for early stopping, the rest to train."""
    order = np.random.default_rng(seed).permutation(len(texts))
    test, stop = min(_TEST, len(texts) // 5), min(_STOP, len(texts) // 10)
    if stop < 2:
        raise ValueError(f"{len(texts)} texts are too few: give 20 or more")
    parts = order[:test], order[test : test + stop], order[test + stop :]
    sides = [([texts[place] for place in part], vectors[torch.from_numpy(part)]) for part in parts]
    return Split(train=sides[2], stop=sides[1], test=sides[0])
