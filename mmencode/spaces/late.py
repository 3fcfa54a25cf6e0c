"""The parts that the engine gives for late interaction, pooled one by one and put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from ..embeddings.array_types import Vectors
from ..embeddings.multi import MultiEmbeddings
from ..engine.call import Part
from ..engine.deferring import Deferred
from ..engine.runtime import Runtime


def products_device(runtime: Runtime) -> str:
    """The device that computes products of many vectors: a runtime's first one where that is CUDA's."""
    return str(runtime.device) if runtime.device.type == "cuda" else "cpu"


class MultiCollector:
    """Makes MultiEmbeddings of parts, each pooled when it comes, so that few vectors are held unpooled."""

    def __init__(
        self, space: str, modality: str, towers: Mapping[str, str], dim: int, *, pool: int, protected: int
    ) -> None:
        self._space, self._modality, self._towers, self._dim = space, modality, towers, dim
        self._pool, self._protected = pool, protected
        self._nothing = self._make(Part(0, [], np.empty(0, np.int64), []))  # checks the arguments

    def collect(self, parts: Iterable[Part[list[Vectors]]]) -> MultiEmbeddings:
        """Put the items of all parts behind each other."""
        return MultiEmbeddings.concatenate([self._nothing, *map(self._make, parts)])

    def deliver(self, parts: Iterable[Part[list[Vectors]]]) -> Iterator[MultiEmbeddings]:
        """Put the items of parts that are delivered together behind each other, as the parts say."""
        source = Deferred(parts)
        held: list[MultiEmbeddings] = []
        for part in source:
            held.append(self._make(part))
            if part.ends:
                yield MultiEmbeddings.concatenate(held)
                held = []
        if held:
            yield MultiEmbeddings.concatenate(held)
        source.reraise()

    def _make(self, part: Part[list[Vectors]]) -> MultiEmbeddings:
        return MultiEmbeddings(
            np.concatenate([np.empty((0, self._dim), np.float32), *part.rows]),
            np.array([len(rows) for rows in part.rows], np.int64),
            space=self._space,
            modality=self._modality,
            positions=part.positions,
            errors=part.errors,
            towers=self._towers,
        ).pool(self._pool, protected=self._protected)
