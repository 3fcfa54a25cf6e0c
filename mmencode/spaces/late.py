"""The parts that the engine gives for late interaction, pooled one by one and put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..embeddings.array_types import Vectors
from ..embeddings.multi import MultiEmbeddings
from ..engine.call import Part


class MultiCollector:
    """Makes MultiEmbeddings of parts, each pooled when it comes, so that few vectors are held unpooled."""

    def __init__(self, space: str, modality: str, dim: int, pool: int, protected: int) -> None:
        self._space, self._modality, self._dim = space, modality, dim
        self._pool, self._protected = pool, protected

    def collect(self, parts: Iterable[Part[list[Vectors]]]) -> MultiEmbeddings:
        """Put the items of all parts behind each other."""
        return MultiEmbeddings.concatenate(list(self._pool_each(parts)))

    def _pool_each(self, parts: Iterable[Part[list[Vectors]]]) -> Iterator[MultiEmbeddings]:
        yield self._make(Part(0, [], np.empty(0, np.int64), []))  # checks the arguments
        for part in parts:
            yield self._make(part)

    def _make(self, part: Part[list[Vectors]]) -> MultiEmbeddings:
        return MultiEmbeddings(
            np.concatenate([np.empty((0, self._dim), np.float32), *part.rows]),
            np.array([len(rows) for rows in part.rows], np.int64),
            space=self._space,
            modality=self._modality,
            positions=part.positions,
            errors=part.errors,
        ).pool(self._pool, protected=self._protected)
