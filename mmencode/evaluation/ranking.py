"""Ranks of the right answers of queries among all candidates, from scores in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..embeddings.array_types import Numbers, Positions, Vectors
from ..spaces.recall import EQUAL, blocks, hit_probability


@dataclass(frozen=True, eq=False, slots=True)
class Ranking:
    """Counts of candidates and the average precision, one number for each query, `[n]`.

    candidates   all candidates of the query
    right        those that are right answers
    best         of the right ones those with the highest score
    before       wrong ones with a higher score than the best right one; `beside` with the same score
    precision    the average precision over all right answers

    Scores within 1e-6 of each other count as equal.
    """

    candidates: Numbers
    right: Numbers
    best: Numbers
    before: Numbers
    beside: Numbers
    precision: Numbers

    def __len__(self) -> int:
        return len(self.right)

    def hits(self, k: int) -> Numbers:
        """Whether any right answer is among the first k, `[n]`: 0, 1, or between, where equal scores decide.

        Equal scores count as if their order were drawn, so that the number is the probability of a hit.
        """
        depths = np.minimum(k, self.candidates) - self.before
        return hit_probability(self.beside + self.best, self.best, depths)

    @property
    def first(self) -> Numbers:
        """The rank of the first right answer, from 1; the mean over all orders of equal scores."""
        return self.before + 1 + self.beside / (self.best + 1)

    @staticmethod
    def concatenate(parts: Iterable[Ranking]) -> Ranking:
        """Make one ranking of the queries of all parts in turn."""
        columns = [[getattr(part, name) for name in Ranking.__slots__] for part in parts]
        if not columns:
            return Ranking(*np.empty((len(Ranking.__slots__), 0)))
        return Ranking(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def rank_by_vectors(queries: Vectors, candidates: Vectors, right: Sequence[Positions]) -> Ranking:
    """Rank the candidates `[m, dim]` for each query `[n, dim]`; `right[i]` are the places of i's answers.

    No more than 64 MiB of scores are held at once (`blocks`).
    """
    parts = (
        rank_by_scores(queries[places] @ candidates.T, [right[place] for place in places.tolist()])
        for places in blocks(len(queries), len(candidates))
    )
    return Ranking.concatenate(parts)


def rank_by_scores(scores: Vectors | Numbers, right: Sequence[Positions]) -> Ranking:
    """Rank by scores `[n, m]`; `right[i]` are the columns of row i's answers, at least one of them.

    Equal scores are one threshold of the average precision, as in scikit-learn.
    """
    equal = scores.dtype.type(EQUAL)
    rows = [
        _rank_query(np.sort(line), np.sort(line[places]), equal)
        for line, places in zip(scores, right, strict=True)
    ]
    return Ranking(*np.array(rows, np.float64).reshape(len(rows), len(Ranking.__slots__)).T)


def _rank_query(
    scores: Vectors | Numbers, right: Vectors | Numbers, equal: np.floating[Any]
) -> tuple[float, ...]:
    """The fields of a Ranking for one query, from all its scores and those of its answers, both ascending."""
    top = right[-1]
    above = len(scores) - np.searchsorted(scores, top + equal, "right")
    level = len(scores) - np.searchsorted(scores, top - equal, "left") - above
    best = len(right) - np.searchsorted(right, top - equal, "left")
    retrieved = len(scores) - np.searchsorted(scores, right - equal, "left")
    relevant = len(right) - np.searchsorted(right, right - equal, "left")
    precision = float((relevant / retrieved).mean())
    return len(scores), len(right), best, above, level - best, precision
