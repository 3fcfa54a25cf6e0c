"""The best rows for queries: the same ones in the same order, however many are asked for and by whom.

A BLAS sums up in another order for one query than for several, and at the edges of a matrix: equal rows get
scores that differ in their last bits. So scores are cosines in float64, rounded to float32: a score depends
on nothing but its two vectors, and equal scores are ranked by place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Vectors = np.ndarray[Any, np.dtype[np.float32]]
Positions = np.ndarray[Any, np.dtype[np.int64]]

_BLOCK = 2**24  # scores held at once: 64 MiB
_TILE = 2**16  # numbers of vectors that are taken to float64 at once, so that they stay in the cache
_ROWS = 256  # rows of scores looked through at once, for the same reason
_FEW = 16  # up to here, looking for the highest score again and again is quicker than sorting
_DENSE = 4  # from this part of all rows on, exact scores of all are quicker than of candidates
_TOLERANCE = 2e-3  # of the squared length of what counts as a unit vector
_HIGHEST = 1.01  # no cosine of what counts as unit vectors is above it


def require_unit(vectors: Vectors, what: str = "vector") -> None:
    """ValueError, which names the first one, for rows `[n, dim]` that aren't finite, or not of length 1."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.einsum("nd,nd->n", vectors, vectors)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < _TOLERANCE))
    if not len(wrong):
        return
    broken = wrong[~np.isfinite(vectors[wrong]).all(axis=1)]
    if len(broken):
        raise ValueError(
            f"the {what} of row {broken[0]} isn't finite ({len(broken)} such rows of {len(vectors)}): "
            "leave these rows out"
        )
    length = np.linalg.norm(vectors[wrong[0]].astype(np.float64))
    raise ValueError(
        f"the {what} of row {wrong[0]} has length {length:g} ({len(wrong)} such rows of {len(vectors)}): "
        "vectors of a space have length 1, as encode() gives them"
    )


def cosines(a: Vectors, b: Vectors) -> Vectors:
    """The cosine of every row of `a` with every row of `b`, `[len(a), len(b)]`, for unit vectors.

    Computed in float64 and rounded, so that it depends on nothing but the two rows; from -1 to 1. Raises
    ValueError for what unit vectors can't have.
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


class Nearest:
    """The `k` rows most similar to each query, of rows that come in blocks.

    Queries `[n, dim]` and rows are unit vectors. `places` and `scores` are `[n, at most k]`, best first,
    equal scores in order of place: those for a smaller `k` are the first ones of those for a larger.
    """

    def __init__(self, queries: Vectors, k: int) -> None:
        self.places: Positions = np.empty((len(queries), 0), np.int64)
        self.scores: Vectors = np.empty((len(queries), 0), np.float32)
        self._queries = queries
        self._k = k
        self._count = 0

    def add(self, rows: Vectors, places: Positions | None = None) -> None:
        """Take in rows `[m, dim]`; each has a place of its own, by default that in which it comes.

        Raises ValueError for scores that unit vectors can't have.
        """
        if not len(rows):
            return
        if places is None:
            places = np.arange(self._count, self._count + len(rows))
        elif (np.diff(places) < 0).any():
            order = np.argsort(places)
            rows, places = rows[order], places[order]
        self._count += len(rows)
        step = max(1, _BLOCK // len(rows))
        parts = [
            self._joined(slice(start, start + step), rows, places)
            for start in range(0, max(1, len(self._queries)), step)
        ]
        self.places = np.concatenate([part[0] for part in parts])
        self.scores = np.concatenate([part[1] for part in parts])

    def _joined(self, block: slice, rows: Vectors, places: Positions) -> tuple[Positions, Vectors]:
        """Places and scores of the best so far for a block of queries, the new rows among them."""
        queries, held, known = self._queries[block], self.scores[block], self.places[block]
        if self._k * _DENSE >= len(rows):
            all_scores = cosines(queries, rows)
            best = best_columns(all_scores, self._k)  # [block, k]
            scores = np.take_along_axis(all_scores, best, axis=1)
            if not held.shape[1]:
                return places[best], scores
            lines, columns = np.repeat(np.arange(len(best)), best.shape[1]), best.ravel()
        else:
            bars = held[:, -1:] if held.shape[1] == self._k else None
            lines, columns = _candidates(queries, rows, self._k, bars)
            scores = _pairwise(queries, rows, lines, columns)
        lines = np.concatenate([np.repeat(np.arange(len(queries)), held.shape[1]), lines])
        scores = np.concatenate([held.ravel(), scores.ravel()])
        found = np.concatenate([known.ravel(), places[columns]])
        order = np.lexsort((found, -scores, lines))
        starts = np.searchsorted(lines[order], np.arange(len(queries)))
        chosen = order[starts[:, None] + np.arange(min(self._k, self._count))]  # [block, k]
        return found[chosen], scores[chosen]


def _candidates(queries: Vectors, rows: Vectors, k: int, bars: Vectors | None) -> tuple[Positions, Positions]:
    """Query and row of all that may be among the k best of a query, k of each at least.

    With `bars` `[queries, 1]`, only those whose score may reach a query's bar.
    """
    near = queries @ rows.T  # [queries, rows]
    best = np.partition(near, len(rows) - k, axis=1)[:, len(rows) - k :]
    _require_possible(best)
    bars = best[:, :1] if bars is None else np.maximum(best[:, :1], bars)
    # A sum of float32 products errs by less than this; one score may be too high where another is too low.
    error = 1.01 * rows.shape[1] * 2.0**-24 + 2.0**-24
    bars = np.minimum(bars, 1) - np.float32(2 * error)
    lines, columns = np.divmod(np.flatnonzero((near >= bars).ravel()), len(rows))
    return lines, columns


def _pairwise(queries: Vectors, rows: Vectors, lines: Positions, columns: Positions) -> Vectors:
    """The cosines of pairs of a query and a row, rounded as `cosines` rounds them."""
    found = np.empty(len(lines), np.float64)
    step = max(1, _TILE // max(1, rows.shape[1]))
    for start in range(0, len(lines), step):
        part = slice(start, start + step)
        products = np.multiply(queries[lines[part]], rows[columns[part]], dtype=np.float64)
        found[part] = products.sum(axis=1)
    return np.clip(found, -1, 1).astype(np.float32)


def _require_possible(scores: Vectors) -> None:
    highest = scores.max(initial=0.0)  # NaN, where one is among them
    if not highest <= _HIGHEST:
        raise ValueError(
            f"a score is {highest:g}, and unit vectors have none above 1: use vectors as encode() gives them"
        )
