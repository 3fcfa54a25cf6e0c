"""The k most similar rows for each query, independent of the other queries and of how many are asked for.

A BLAS sums up in another order for one query than for several, and at the edges of a matrix: equal rows get
scores that differ in their last bits. So scores are cosines in float64, rounded to float32: a score depends
on nothing but its two vectors, and equal scores are ranked by place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .array_types import Array, Flags, Positions, Vectors

BLOCK = 2**24  # scores held at once: 64 MiB
_TILE = 2**16  # numbers of vectors that are taken to float64 at once, so that they stay in the CPU's cache
_ROWS = 256  # rows of scores sorted at once, so that they stay in the cache
_FEW = 16  # for a k up to this one, k times argmax is quicker than sorting
_DENSE = 4  # where k is this part of all rows or more, exact scores of all are quicker than of candidates
_HIGHEST = 1.01  # the cosine of two vectors that pass for unit vectors is below this
_LOWEST = np.float32(-2)  # below every score, and above that of a row that is left out
_SINGLY = 8  # queries that are quicker multiplied one by one
_COLUMNS = 2**12  # rows that lie number by number, multiplied with one query after the other
_SPARSE = 8  # where at most this part of all rows may be found, these alone are compared
_TILES, _TILES_PER_BEST = 512, 4  # groups of rows of which the highest scores are taken first


def cosines(a: Vectors, b: Vectors) -> Vectors:
    """The cosine of every row of `a` with every row of `b`, `[len(a), len(b)]`, for unit vectors.

    Computed in float64 and rounded, so that a score depends on nothing but its two rows; from -1 to 1.
    Raises ValueError for scores that unit vectors can't have.
    """
    found = np.empty((len(a), len(b)), np.float32)
    step = 2048 if len(a) > 64 else 512
    for start in range(0, len(a), 1024):
        rows = a[start : start + 1024].astype(np.float64)
        for place in range(0, len(b), step):
            columns = b[place : place + step].astype(np.float64)
            found[start : start + 1024, place : place + step] = rows @ columns.T
    _require_possible(found)
    return np.clip(found, -1, 1, out=found)


def best_columns(scores: Vectors, k: int) -> Positions:
    """Columns of the k highest of finite scores in each row, highest first, equal ones in order of column."""
    k = min(k, scores.shape[1])
    best = np.empty((len(scores), k), np.int64)
    for start in range(0, len(scores), _ROWS):
        block = scores[start : start + _ROWS]
        if k > _FEW:
            best[start : start + _ROWS] = np.argsort(-block, axis=1, kind="stable")[:, :k]
            continue
        left, rows = block.copy(), np.arange(len(block))
        for place in range(k):
            columns = best[start : start + _ROWS, place] = left.argmax(axis=1)
            left[rows, columns] = -np.inf
    return best


def highest(scores: Array, k: int) -> Array:
    """The k highest scores of each row, the lowest of these first and the others in any order."""
    place = scores.shape[1] - k
    return np.partition(scores, place, axis=1)[:, place:]


class Nearest:
    """The `k` rows most similar to each query, of rows that come in blocks.

    Queries `[n, dim]` and rows are unit vectors. `places` and `scores` are `[n, at most k]`, best first,
    equal scores in order of place: those for a smaller `k` are the first ones of those for a larger.
    Rows may lie in memory one after the other, or number by number, which is quicker for few queries.
    """

    def __init__(self, queries: Vectors, k: int) -> None:
        self.places: Positions = np.empty((len(queries), 0), np.int64)
        self.scores: Vectors = np.empty((len(queries), 0), np.float32)
        self._queries = queries
        self._k = k
        self._passed = self._count = 0  # rows that came, and those of them that may be found

    def add(self, rows: Vectors, places: Positions | None = None, among: Flags | None = None) -> None:
        """Compare the queries with more rows `[m, dim]`; places count from the first row unless given.

        `among` marks the rows that may be found, all unless given.
        Raises ValueError for scores that unit vectors can't have.
        """
        if places is None:
            places = np.arange(self._passed, self._passed + len(rows))
        self._passed += len(rows)
        if (np.diff(places) < 0).any():
            order = np.argsort(places)
            rows, places, among = rows[order], places[order], None if among is None else among[order]
        count = len(rows) if among is None else int(np.count_nonzero(among))
        if among is not None and count <= max(len(rows) // _SPARSE, _DENSE * self._k):
            chosen = np.flatnonzero(among)
            rows, places, among = _take(rows, chosen), places[chosen], None
        if not count:
            return
        self._count += count
        step = max(1, BLOCK // len(rows))
        parts = [
            self._merge(slice(start, start + step), rows, places, among)
            for start in range(0, max(1, len(self._queries)), step)
        ]
        self.places = np.concatenate([part[0] for part in parts])
        self.scores = np.concatenate([part[1] for part in parts])

    def add_all(self, blocks: Sequence[tuple[Vectors, Positions, Flags | None]]) -> None:
        """Compare the queries with the rows of several blocks, as `add` does with those of each.

        A few queries that meet their first rows get all scores before the best are looked for, since to look
        costs as much in each block as in all together. Raises ValueError as `add`.
        """
        total = sum(len(rows) for rows, _, _ in blocks)
        there = sum(len(rows) if among is None else np.count_nonzero(among) for rows, _, among in blocks)
        few = 0 < len(self._queries) <= _SINGLY and total * len(self._queries) <= BLOCK
        if not few or self._passed or there <= max(total // _SPARSE, _DENSE * self._k):
            for block in blocks:
                self.add(*block)
            return
        self._passed, self._count = total, int(there)
        near = np.empty((len(self._queries), total), np.float32)
        starts = np.cumsum([0, *(len(rows) for rows, _, _ in blocks)])
        for start, (rows, _, among) in zip(starts, blocks, strict=False):
            part = near[:, start : start + len(rows)]
            _multiply(self._queries, rows, part)
            if among is not None:
                part[:, ~among] = -np.inf
        lines, columns = _candidates(near, self._queries.shape[1], self._k)
        rows, places, columns = _take_from(blocks, starts, columns)
        scores = _pairwise(self._queries, rows, lines, columns)
        self.places, self.scores = self._choose(len(self._queries), lines, places[columns], scores)

    def _merge(
        self, block: slice, rows: Vectors, places: Positions, among: Flags | None
    ) -> tuple[Positions, Vectors]:
        """Compare a block of queries with new rows; return places and scores of the best so far."""
        queries, held, known = self._queries[block], self.scores[block], self.places[block]
        if self._k * _DENSE >= len(rows):  # then no rows are left out
            all_scores = cosines(queries, rows)
            best = best_columns(all_scores, self._k)  # [block, k]
            scores = np.take_along_axis(all_scores, best, axis=1)
            if not held.shape[1]:
                return places[best], scores
            lines, columns = np.repeat(np.arange(len(best)), best.shape[1]), best.ravel()
        else:
            bars = held[:, -1:] if held.shape[1] == self._k else None
            near = _multiply(queries, rows)  # [queries, rows]
            if among is not None:
                near[:, ~among] = -np.inf
            lines, columns = _candidates(near, rows.shape[1], self._k, bars)
            scores = _pairwise(queries, rows, lines, columns)
        lines = np.concatenate([np.repeat(np.arange(len(queries)), held.shape[1]), lines])
        scores = np.concatenate([held.ravel(), scores.ravel()])
        found = np.concatenate([known.ravel(), places[columns]])
        return self._choose(len(queries), lines, found, scores)

    def _choose(
        self, count: int, lines: Positions, places: Positions, scores: Vectors
    ) -> tuple[Positions, Vectors]:
        """The places and scores of the best pairs for each of `count` queries, `[count, k]`."""
        order = np.lexsort((places, -scores, lines))
        starts = np.searchsorted(lines[order], np.arange(count))
        chosen = order[starts[:, None] + np.arange(min(self._k, self._count))]  # [count, k]
        return places[chosen], scores[chosen]


def _candidates(near: Vectors, dim: int, k: int, bars: Vectors | None = None) -> tuple[Positions, Positions]:
    """Find the pairs of a query and a row that may be among the query's k best: k for each query at least.

    near  float32 products of vectors of width `dim`, `[queries, rows]`; minus infinity for a row that is left
          out, of which more than k aren't
    bars  `[queries, 1]`, which scores must be able to reach, where they are given
    """
    # A row is in the tile whose number its own leaves when divided by their number. The k-th highest of the
    # tiles' highest scores is one that k rows reach, and costs far less than the k-th highest of all.
    count = max(_TILES, _TILES_PER_BEST * k)
    tall = near.shape[1] // count
    if tall < 2:
        tops = near
    else:
        tops = near[:, : tall * count].reshape(len(near), tall, count).max(axis=1)  # [queries, tiles]
        rest = near[:, tall * count :]
        np.maximum(tops[:, : rest.shape[1]], rest, out=tops[:, : rest.shape[1]])
    _require_possible(tops)
    best = highest(tops, k)[:, :1]
    bars = best if bars is None else np.maximum(best, bars)
    # The float32 product errs by less than `error`. One score may be too high where another is too low, so a
    # row whose score is within twice the error of the bar may be above it in truth.
    error = 1.01 * dim * 2.0**-24 + 2.0**-24
    bars = np.maximum(np.minimum(bars, 1) - np.float32(2 * error), _LOWEST)
    if tops is near:
        return _divide(near >= bars)
    lines, tiles = _divide(tops >= bars)
    if len(lines) * (tall + 1) > near.size // _SPARSE:
        return _divide(near >= bars)
    columns = tiles[:, None] + count * np.arange(tall + 1)  # [tiles, rows of a tile]
    reached = near[lines[:, None], np.minimum(columns, near.shape[1] - 1)] >= bars[lines]
    reached &= columns < near.shape[1]
    return np.repeat(lines, reached.sum(axis=1)), columns[reached]


def _multiply(queries: Vectors, rows: Vectors, out: Vectors | None = None) -> Vectors:
    """The product of every query with every row, `[queries, rows]` in float32, written to `out` if given."""
    if out is None:
        out = np.empty((len(queries), len(rows)), np.float32)
    if len(queries) > _SINGLY or rows.flags.c_contiguous:
        return np.matmul(queries, rows.T, out=out)
    step = len(rows) if len(queries) == 1 else _COLUMNS
    for start in range(0, len(rows), step):
        part = slice(start, start + step)  # which stay in the cache from one query to the next
        for line, query in enumerate(queries):  # a BLAS reads rows that lie number by number quickest so
            np.matmul(query, rows[part].T, out=out[line, part])
    return out


def _divide(marked: Flags) -> tuple[Positions, Positions]:
    """Lines and columns of what is marked `[lines, columns]`, in order."""
    lines, columns = np.divmod(np.flatnonzero(marked.ravel()), marked.shape[1])
    return lines, columns


def _take(rows: Vectors, places: Positions) -> Vectors:
    """Take rows at places, quickly where they lie in memory number by number, too."""
    return rows[places] if rows.flags.c_contiguous else np.take(rows.T, places, axis=1).T


def _take_from(
    blocks: Sequence[tuple[Vectors, Positions, Flags | None]], starts: Positions, columns: Positions
) -> tuple[Vectors, Positions, Positions]:
    """Take the rows of columns that count through all blocks, each once: rows, places, each column's row."""
    needed, columns = np.unique(columns, return_inverse=True)
    cuts = np.searchsorted(needed, starts)
    parts = [
        (_take(rows, needed[low:high] - start), places[needed[low:high] - start])
        for (rows, places, _), start, low, high in zip(blocks, starts, cuts, cuts[1:], strict=False)
    ]
    rows = np.concatenate([part[0] for part in parts])
    return np.ascontiguousarray(rows), np.concatenate([part[1] for part in parts]), columns


def _pairwise(queries: Vectors, rows: Vectors, lines: Positions, columns: Positions) -> Vectors:
    """The cosines of pairs of a query and a row, rounded as `cosines` rounds them."""
    found = np.empty(len(lines), np.float64)
    if not rows.flags.c_contiguous:  # then it is quicker to take all that are needed at once, each once
        needed, columns = np.unique(columns, return_inverse=True)
        rows = np.ascontiguousarray(_take(rows, needed))
    step = max(1, _TILE // max(1, rows.shape[1]))
    for start in range(0, len(lines), step):
        part = slice(start, start + step)
        products = np.multiply(queries[lines[part]], rows[columns[part]], dtype=np.float64)
        found[part] = products.sum(axis=1)
    return np.clip(found, -1, 1).astype(np.float32)


def _require_possible(scores: Vectors) -> None:
    largest = scores.max(initial=0.0)  # NaN where one is among the scores
    if not largest <= _HIGHEST:
        raise ValueError(
            f"a score is {largest:g}, and unit vectors have none above 1: use vectors as encode() gives them"
        )
