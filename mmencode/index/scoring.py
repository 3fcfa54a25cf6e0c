"""The queries of a search, and how the rows of an index are scored by them: by cosines, or by MaxSim."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..embeddings.array_types import Vectors
from ..embeddings.maxsim import NearestItems, maxsim
from ..embeddings.multi import MultiEmbeddings
from ..embeddings.topk import Nearest, cosines
from ..embeddings.unit import scale_to_unit
from .columns import vectors_of
from .layout import StoredItems

Means = Mapping[str, Vectors]


class Queries(ABC):
    """The queries of one search, and how rows are scored by them.

    scanned   rows that a pass reads at once
    many      whether rows have many vectors each
    plain     the queries `[q, dim]` where scores are their cosines with rows as these are stored, else None
    groups    the modalities, escaped, each of which gets candidates of its own; None for all rows together
    """

    scanned: int
    many: bool
    plain: Vectors | None = None
    groups: Sequence[str] | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def pick(self, lines: Sequence[int]) -> Queries:
        """Take some of the queries."""

    @abstractmethod
    def for_lance(self) -> Vectors:
        """Make the argument of LanceDB's search of the only query."""

    @abstractmethod
    def nearest(self, k: int) -> Nearest | NearestItems:
        """Begin a pass, which keeps the best rows of each query."""

    @abstractmethod
    def read(self, batch: Any) -> Any:
        """Read the vectors of a batch of rows, as `score` and a pass take them."""

    @abstractmethod
    def score(self, rows: Any) -> Vectors:
        """Score all rows by each query, `[queries, rows]`."""


class SingleQueries(Queries):
    """Queries `[q, dim]` that cosines compare with rows of one vector each, centred where there are means."""

    plain: Vectors | None
    groups: list[str] | None

    scanned = 8192
    many = False

    def __init__(self, vectors: Vectors, means: Means | None = None) -> None:
        self._vectors, self._means = vectors, means
        self.plain = vectors if means is None else None
        self.groups = None if means is None else list(means)

    @classmethod
    def center(cls, vectors: Vectors, modality: str, means: Means) -> SingleQueries:
        """Subtract the mean of the queries' modality from them, if it has rows, and theirs from rows."""
        mean = means.get(modality)
        return cls(vectors if mean is None else scale_to_unit(vectors - mean), means)

    def __len__(self) -> int:
        return len(self._vectors)

    def pick(self, lines: Sequence[int]) -> SingleQueries:
        """Take some of the queries."""
        return SingleQueries(self._vectors[lines], self._means)

    def for_lance(self) -> Vectors:
        """Make the argument of LanceDB's search of the only query, `[dim]`."""
        vector: Vectors = self._vectors[0]
        return vector

    def nearest(self, k: int) -> Nearest:
        """Begin a pass, which keeps the best rows of each query."""
        return Nearest(self._vectors, k)

    def read(self, batch: Any) -> Vectors:
        """Read the vectors `[n, dim]` of a batch of rows, centred where there are means."""
        vectors = vectors_of(batch.column("vector"))
        if self._means is None:
            return vectors
        modalities = np.array(batch.column("modality").to_pylist(), dtype=object)
        centred = vectors.copy()
        for modality in set(modalities.tolist()) & self._means.keys():
            centred[modalities == modality] -= self._means[modality]
        return scale_to_unit(centred)

    def score(self, rows: Any) -> Vectors:
        """Score all rows by each query, `[queries, rows]`."""
        return cosines(self._vectors, rows)


class ManyQueries(Queries):
    """Queries that MaxSim compares with rows of many vectors each."""

    scanned = 128
    many = True

    def __init__(self, queries: MultiEmbeddings, device: str) -> None:
        self._queries, self._device = queries, device

    def __len__(self) -> int:
        return len(self._queries)

    def pick(self, lines: Sequence[int]) -> ManyQueries:
        """Take some of the queries."""
        return ManyQueries(self._queries[lines], self._device)

    def for_lance(self) -> Vectors:
        """Make the argument of LanceDB's search of the only query, `[vectors, dim]`."""
        return self._queries.vectors

    def nearest(self, k: int) -> NearestItems:
        """Begin a pass, which keeps the best rows of each query."""
        return NearestItems(self._queries, k, device=self._device)

    def read(self, batch: Any) -> StoredItems:
        """Read the vectors of a batch of rows."""
        return StoredItems(batch.column("vector"))

    def score(self, rows: Any) -> Vectors:
        """Score all rows by each query, `[queries, rows]`."""
        return maxsim(self._queries, rows)
