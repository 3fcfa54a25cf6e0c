"""MaxSim, the score of two items with many vectors each: how well the best match of each query vector fits.

The score of a query and a document is the sum over the query's vectors of the highest cosine with any of the
document's (Khattab and Zaharia, "ColBERT: Efficient and Effective Passage Search via Contextualized Late
Interaction over BERT", SIGIR 2020). As in `topk`, a score is computed in float64 and rounded, so that it
depends on nothing but its two items; products in float32, within a known error of it, say which documents
are worth that.
"""

from __future__ import annotations

import numpy as np

from .array_types import Positions, Vectors
from .maxsim_products import Items, QueryBlock, cut_items
from .topk import best_columns

_COLUMNS = 1024  # vectors of queries that are compared at once
_SCORES = 2**22  # scores held at once


def maxsim(queries: Items, documents: Items, *, device: str = "cpu") -> Vectors:
    """The score of every query with every document, `[queries, documents]`, at most a query's vectors.

    Raises ValueError for products that unit vectors can't have.
    """
    found = np.empty((len(queries.ends), len(documents.ends)), np.float32)
    for lines in cut_items(queries.ends, _COLUMNS):
        block = QueryBlock(queries, lines, exact=True, device=device)
        found[lines] = block.score(documents, slice(0, len(documents.ends)))
    return found


class NearestItems:
    """The `k` documents with the highest score for each query, of documents that come in blocks.

    `places`, which count from the first document, and `scores` are `[queries, at most k]`. Equal scores are
    in order of place, and those for a smaller `k` are the first ones of those for a larger. Memory doesn't
    depend on the number of documents. `device` computes the products; the scores don't depend on it.
    """

    def __init__(self, queries: Items, k: int, *, device: str = "cpu") -> None:
        self._k = k
        self._count = 0
        count = len(queries.ends)
        self._blocks = [
            (lines, QueryBlock(queries, lines, exact=False, device=device))
            for lines in cut_items(queries.ends, _COLUMNS)
        ]
        self._places: list[Positions] = [np.empty(0, np.int64)] * count
        self._scores: list[Vectors] = [np.empty(0, np.float32)] * count

    @property
    def places(self) -> Positions:
        """The places of the best documents of each query."""
        return np.stack([np.empty(self._width, np.int64), *self._places])[1:]

    @property
    def scores(self) -> Vectors:
        """The scores of the best documents of each query."""
        return np.stack([np.empty(self._width, np.float32), *self._scores])[1:]

    @property
    def _width(self) -> int:
        return min(self._k, self._count)

    def add(self, documents: Items) -> None:
        """Compare the queries with more documents; ValueError for products that unit vectors can't have."""
        total = len(documents.ends)
        for lines, block in self._blocks:
            step = max(1, _SCORES // block.count, self._k)
            for start in range(0, total, step):
                stretch = slice(start, min(start + step, total))
                near = block.score(documents, stretch)  # each within its query's error of the true one
                for row, line in enumerate(range(lines.start, lines.stop)):
                    chosen = start + self._candidates(near[row], block.errors[row], self._scores[line])
                    self._merge(line, self._count + chosen, block.score_each(row, documents, chosen))
        self._count += total

    def _candidates(self, near: Vectors, error: float, held: Vectors) -> Positions:
        """Find the documents that may be among the `k` best, by their estimated scores."""
        bar = -np.inf
        if len(near) > self._k:
            bar = float(np.partition(near, len(near) - self._k)[len(near) - self._k]) - error
        if len(held) == self._k:
            bar = max(bar, float(held[-1]))
        return np.flatnonzero(near >= bar - error)

    def _merge(self, line: int, places: Positions, scores: Vectors) -> None:
        """Keep the best of the documents that a query has and of further ones, whose places come behind."""
        if not len(places):
            return
        places = np.concatenate([self._places[line], places])
        scores = np.concatenate([self._scores[line], scores])
        best = best_columns(scores[None], self._k)[0]  # places ascend where scores are equal
        self._places[line], self._scores[line] = places[best], scores[best]
