"""MaxSim, the score of two items with many vectors each: how well the best match of each query vector fits.

The score of a query and a document is the sum over the query's vectors of the highest cosine with any of the
document's (Khattab and Zaharia, "ColBERT: Efficient and Effective Passage Search via Contextualized Late
Interaction over BERT", SIGIR 2020). As in `topk`, a score is computed in float64 and rounded, so that it
depends on nothing but its two items; products in float32, within a known error of it, say which documents
are worth that.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .array_types import Array, Positions, Vectors
from .ragged import counts_of, starts_of
from .topk import best_columns

if TYPE_CHECKING:
    from torch import Tensor

_COLUMNS = 1024  # vectors of queries that are compared at once
_TILE = 2**18  # products held at once: 1 MiB of float32, which stays in the cache until it is reduced
_ROWS = 512  # vectors of a single document that are compared at once
_SCORES = 2**22  # scores held at once
_HIGHEST = 1.01  # the cosine of two vectors that pass for unit vectors is below this


class Items(Protocol):
    """Items with many unit vectors each: `rows` gives those from one row to another, `[m, dim]`."""

    @property
    def ends(self) -> Positions:
        """The row at which each item ends."""
        ...

    def rows(self, start: int, end: int) -> Vectors:
        """The vectors from one row to another, whichever items they belong to."""
        ...


def maxsim(queries: Items, documents: Items) -> Vectors:
    """The score of every query with every document, `[queries, documents]`, at most a query's vectors.

    Raises ValueError for products that unit vectors can't have.
    """
    found = np.empty((len(queries.ends), len(documents.ends)), np.float32)
    for lines in _blocks(queries.ends, _COLUMNS):
        block = _Queries(queries, lines, exact=True)
        for columns in _blocks(documents.ends, max(1, _TILE // 2 // block.width)):
            found[lines, columns] = block.score(documents, columns).T
    return found


class NearestItems:
    """The `k` documents with the highest score for each query: `places` and `scores` `[queries, k]`.

    Equal scores are in order of place, and those for a smaller `k` are the first ones of those for a larger.
    Memory doesn't depend on the number of documents.
    """

    def __init__(self, queries: Items, documents: Items, k: int) -> None:
        self._documents = documents
        self._k = k = min(k, len(documents.ends))
        self.places: Positions = np.empty((len(queries.ends), k), np.int64)
        self.scores: Vectors = np.empty((len(queries.ends), k), np.float32)
        for lines in _blocks(queries.ends, _COLUMNS):
            self.places[lines], self.scores[lines] = self._search(queries, lines)

    def _search(self, queries: Items, lines: slice) -> tuple[Positions, Vectors]:
        """Find the best documents for a block of queries, a stretch of documents at a time."""
        block, total = _Queries(queries, lines, exact=False), len(self._documents.ends)
        count = lines.stop - lines.start
        places = [np.empty(0, np.int64)] * count
        scores = [np.empty(0, np.float32)] * count
        step = max(1, _SCORES // count, self._k)
        for start in range(0, total, step):
            stretch = slice(start, min(start + step, total))
            near = self._estimate(block, stretch)  # [count, stretch]
            for line in range(count):
                found = start + self._candidates(near[line], block.errors[line], scores[line])
                exact = block.score_each(line, self._documents, found)
                places[line] = np.concatenate([places[line], found])
                scores[line] = np.concatenate([scores[line], exact])
                best = best_columns(scores[line][None], self._k)[0]  # places ascend where scores are equal
                places[line], scores[line] = places[line][best], scores[line][best]
        return np.stack(places), np.stack(scores)

    def _estimate(self, block: _Queries, stretch: slice) -> Vectors:
        """Compute scores `[queries, documents]` in float32, each within its query's error of the true one."""
        near = np.empty((block.count, stretch.stop - stretch.start), np.float32)
        ends, first = self._documents.ends[stretch], stretch.start
        before = int(self._documents.ends[first - 1]) if first else 0
        for columns in _blocks(ends - before, max(1, _TILE // block.width)):
            shifted = slice(columns.start + first, columns.stop + first)
            near[:, columns] = block.score(self._documents, shifted).T
        return near

    def _candidates(self, near: Vectors, error: float, held: Vectors) -> Positions:
        """Find the documents that may be among the `k` best, by their estimated scores."""
        bar = -np.inf
        if len(near) > self._k:
            bar = float(np.partition(near, len(near) - self._k)[len(near) - self._k]) - error
        if len(held) == self._k:
            bar = max(bar, float(held[-1]))
        return np.flatnonzero(near >= bar - error)


class _Queries:
    """A block of queries, `width` vectors in all, that documents are compared with.

    Products are torch's, which are the fastest, in float64 where they are to be `exact`. `errors` bounds how
    far a score may be off otherwise, for each query.
    """

    def __init__(self, queries: Items, lines: slice, *, exact: bool) -> None:
        starts = starts_of(queries.ends)
        first, last = int(starts[lines.start]), int(queries.ends[lines.stop - 1])
        self._vectors = queries.rows(first, last)  # [width, dim]
        self._starts = starts[lines] - first
        self._ends = queries.ends[lines] - first
        self.count, self.width = len(self._starts), last - first
        self._dtype = np.float64 if exact or _rounds_products() else np.float32
        self._columns = _tensor(np.ascontiguousarray(self._vectors.T, self._dtype))  # [dim, width]
        self._room = _tensor(np.empty((0, self.width), self._dtype))
        counts = counts_of(self._ends)
        # Of each product as in `topk`; of the sum of `counts` of them in any order; and of the rounding.
        each = 1.01 * self._vectors.shape[1] * 2.0**-24 + 2.0**-24
        self.errors = (counts * each + (1.01 * counts + 1) * counts * 2.0**-24).tolist()

    def score(self, documents: Items, places: slice) -> Vectors:
        """The scores of neighbouring documents, `[documents, queries]`."""
        import torch

        ends = documents.ends[places]
        first = int(documents.ends[places.start - 1]) if places.start else 0
        rows = documents.rows(first, int(ends[-1]))
        best = np.empty((len(ends), self.width), self._dtype)
        found = torch.from_numpy(best)
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            if len(ends) == 1:  # which may have any number of rows
                starts = range(0, len(rows), _ROWS)
                parts = [self._multiply(rows[at : at + _ROWS]).amax(dim=0) for at in starts]
                torch.amax(torch.stack(parts), dim=0, out=found[0])
            else:
                products = self._multiply(rows)
                for place, (start, end) in enumerate(pairwise([0, *(ends - first).tolist()])):
                    torch.amax(products[start:end], dim=0, out=found[place])
        return self._sum(best)

    def _multiply(self, rows: Vectors) -> Tensor:
        """The products of rows with all vectors of queries, `[rows, width]`, in memory that is used again."""
        import torch

        if len(self._room) < len(rows):
            self._room = _tensor(np.empty((len(rows), self.width), self._dtype))
        return torch.mm(
            _tensor(rows.astype(self._dtype, copy=False)), self._columns, out=self._room[: len(rows)]
        )

    def score_each(self, line: int, documents: Items, places: Positions) -> Vectors:
        """The exact scores of one query with documents anywhere, `[documents]`."""
        query = self._vectors[self._starts[line] : self._ends[line]].astype(np.float64)
        found = np.empty(len(places), np.float32)
        for at, place in enumerate(places.tolist()):
            first = int(documents.ends[place - 1]) if place else 0
            rows = documents.rows(first, int(documents.ends[place])).astype(np.float64)
            found[at] = np.clip((rows @ query.T).max(axis=0), -1, 1).sum()
        return found

    def _sum(self, best: Array) -> Vectors:
        """Add up the best products of each query, `[documents, width]` to `[documents, queries]`."""
        largest = best.max(initial=0.0)  # NaN where one is among them
        if not largest <= _HIGHEST:
            raise ValueError(
                f"a cosine is {largest:g}, and unit vectors have none above 1: use vectors as encode_multi() "
                "gives them"
            )
        np.clip(best, -1, 1, out=best)
        return np.add.reduceat(best, self._starts, axis=1).astype(np.float32, copy=False)


def _tensor(array: Array) -> Tensor:
    """The array as a tensor in the same memory, or a copy of one that can't be written to."""
    import torch

    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _rounds_products() -> bool:
    """Whether torch was told to multiply float32 on CPUs with fewer bits, past any bound known here."""
    import torch

    settings: Any = torch.backends.mkldnn  # torch has had those of products only since 2.9
    products = getattr(settings, "matmul", None)
    if products is None:
        return torch.get_float32_matmul_precision() != "highest"
    return products.fp32_precision not in ("ieee", "none")


def _blocks(ends: Positions, rows: int) -> Iterator[slice]:
    """Cut items into neighbouring ones that have `rows` rows together at most, or are a single one."""
    start, before = 0, 0
    while start < len(ends):
        stop = max(start + 1, int(np.searchsorted(ends, before + rows, side="right")))
        yield slice(start, stop)
        start, before = stop, int(ends[stop - 1])
