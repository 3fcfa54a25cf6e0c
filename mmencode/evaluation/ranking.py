"""Where the right answers of queries stand among all candidates, from scores in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..spaces.recall import EQUAL, Numbers, Places, Rows, blocks, drawn


@dataclass(frozen=True, eq=False, slots=True)
class Ranking:
    """For each query, numbers `[n]`; scores within 1e-6 count as equal.

    candidates   all of them
    right        those that are right answers
    best         of these the ones with the highest score
    before       wrong ones with a higher score than that; `beside` with that one
    precision    the average precision over all right answers
    """

    candidates: Numbers
    right: Numbers
    best: Numbers
    before: Numbers
    beside: Numbers
    precision: Numbers

    def __len__(self) -> int:
        return len(self.right)

    def found(self, k: int) -> Numbers:
        """Whether any right answer is among the first k, 0 or 1; a share where equal scores are drawn."""
        return drawn(self.beside + self.best, self.best, np.minimum(k, self.candidates) - self.before)

    @property
    def first(self) -> Numbers:
        """The rank of the first right answer, from 1; the mean over all orders of equal scores."""
        return self.before + 1 + self.beside / (self.best + 1)

    @staticmethod
    def joined(parts: Iterable[Ranking]) -> Ranking:
        """The queries of all parts in turn."""
        columns = [[getattr(part, name) for name in Ranking.__slots__] for part in parts]
        if not columns:
            return Ranking(*np.empty((len(Ranking.__slots__), 0)))
        return Ranking(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def ranking(queries: Rows, candidates: Rows, right: Sequence[Places]) -> Ranking:
    """Rank the candidates `[m, dim]` for each query `[n, dim]`, of which `right[i]` are query i's answers.

    Never more scores are held than `mmencode.spaces.recall` holds, 64 MiB of them.
    """
    parts = (
        ranking_of_scores(queries[places] @ candidates.T, [right[place] for place in places.tolist()])
        for places in blocks(len(queries), len(candidates))
    )
    return Ranking.joined(parts)


def ranking_of_scores(scores: Rows | Numbers, right: Sequence[Places]) -> Ranking:
    """Rank by scores `[n, m]`; `right[i]` are the columns of row i's answers, at least one of them.

    Equal scores are one threshold of the average precision, as in scikit-learn.
    """
    equal = scores.dtype.type(EQUAL)
    rows = [
        _row(np.sort(line), np.sort(line[places]), equal) for line, places in zip(scores, right, strict=True)
    ]
    return Ranking(*np.array(rows, np.float64).reshape(len(rows), len(Ranking.__slots__)).T)


def _row(line: Rows | Numbers, found: Rows | Numbers, equal: np.floating[Any]) -> tuple[float, ...]:
    """The numbers of one query, of its scores and those of its right answers, both ascending."""
    top = found[-1]
    above = len(line) - np.searchsorted(line, top + equal, "right")
    level = len(line) - np.searchsorted(line, top - equal, "left") - above
    best = len(found) - np.searchsorted(found, top - equal, "left")
    retrieved = len(line) - np.searchsorted(line, found - equal, "left")
    relevant = len(found) - np.searchsorted(found, found - equal, "left")
    precision = float((relevant / retrieved).mean())
    return len(line), len(found), best, above, level - best, precision
