"""A cache of prompts' vectors: each text goes through the text tower once for all classifiers of a space."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..embeddings.array_types import Vectors
from ..embeddings.embeddings import Embeddings
from ..embeddings.unit import SHORTEST, scale_to_unit
from ..errors import LabelError
from ..isolation.guarding import Guard
from ..plugins.spec import QUERY, TEXT
from .contract import LabelSpace

_AT_ONCE = 2**14  # prompts whose vectors are gathered at once: 32 MiB at 512 numbers each


class Bank:
    """Keeps the vectors of the texts that a space's classifiers used last.

    It holds at most `numbers` float32 numbers: by default 256 MiB, which is 131 072 texts of 512 numbers.
    A text that was dropped is encoded again when it is needed.
    """

    def __init__(self, numbers: int = 2**26) -> None:
        self._numbers = numbers
        self._vectors: OrderedDict[str, Vectors] = OrderedDict()
        self._space = ""
        self._guard = Guard()

    def __len__(self) -> int:
        return len(self._vectors)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as an empty bank: texts are encoded again where they are needed."""
        return Bank, (self._numbers,)

    def clear(self) -> None:
        """Drop the vectors of all texts."""
        with self._guard:
            self._vectors.clear()

    def means(self, space: LabelSpace, names: Sequence[str], groups: Sequence[Sequence[str]]) -> Embeddings:
        """Encode groups of texts and average each: unit vectors `[groups, dim]`; `names` are for messages."""
        parts: list[Vectors] = []
        with self._guard:
            for start, stop in _chunks([len(group) for group in groups]):
                texts = [text for group in groups[start:stop] for text in group]
                vectors = self._encode(space, texts)
                parts.append(mean_rows(vectors, groups[start:stop], names[start:stop]))
        return Embeddings(np.concatenate(parts), space=self._space, modality=TEXT)

    def _encode(self, space: LabelSpace, texts: Sequence[str]) -> Vectors:
        """Take the vectors of texts from the bank, or encode each once: `[texts, dim]`."""
        distinct = list(dict.fromkeys(texts))
        found = {text: self._vectors[text] for text in distinct if text in self._vectors}
        missing = [text for text in distinct if text not in found]
        if missing:
            encoded = space.encode(TEXT, missing, role=QUERY)
            self._space = encoded.space
            copies = map(np.copy, encoded.vectors)  # so that a dropped row frees its memory
            found |= zip(missing, copies, strict=True)
        self._keep(found)
        return np.stack([found[text] for text in texts])

    def _keep(self, found: dict[str, Vectors]) -> None:
        for text, vector in found.items():
            self._vectors[text] = vector
            self._vectors.move_to_end(text)
        dim = len(next(iter(found.values())))
        while len(self._vectors) * dim > self._numbers:
            self._vectors.popitem(last=False)


def mean_rows(vectors: Vectors, groups: Sequence[Sequence[Any]], names: Sequence[str]) -> Vectors:
    """Average each group's rows of `[n, dim]`, where groups follow each other, to unit vectors.

    A single row stays as it is, bit for bit. Raises LabelError for a group whose vectors cancel out.
    """
    starts = np.cumsum([0, *map(len, groups)])
    means = np.stack([vectors[start:stop].mean(axis=0) for start, stop in pairwise(starts)])
    alone = np.array([len(group) == 1 for group in groups])
    found = unit_means(means, names)
    found[alone] = means[alone]
    return found


def unit_means(means: Vectors, names: Sequence[str]) -> Vectors:
    """Bring means of unit vectors to unit length; LabelError, by name, for one without a direction."""
    nowhere = np.flatnonzero(~(np.linalg.norm(means, axis=1) > SHORTEST))
    if len(nowhere):
        raise LabelError(
            f"the vectors that stand for {names[nowhere[0]]!r} cancel each other out: their mean is zero",
            remedy="use fewer or other prompts or examples for it",
        )
    return scale_to_unit(means)


def _chunks(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Divide groups into ranges (start, stop) of no more members than are gathered at once."""
    ends, total = [0], 0
    for place, size in enumerate(sizes):
        if total and total + size > _AT_ONCE:
            ends.append(place)
            total = 0
        total += size
    return list(zip(ends, [*ends[1:], len(sizes)], strict=True))
