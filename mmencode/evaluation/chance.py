"""Figures of a blind guess: the expectation of each one when the candidates come in any order."""

from __future__ import annotations

import numpy as np

from ..embeddings.array_types import Numbers
from ..spaces.recall import hit_probability
from .ranking import Ranking


def hit_rate(ranks: Ranking, k: int) -> float:
    """The probability that any right answer is among the first k, averaged over the queries."""
    return float(hit_probability(ranks.candidates, ranks.right, np.full(len(ranks), k)).mean())


def mean_rank(ranks: Ranking) -> float:
    """The mean rank of the first right answer."""
    return float(((ranks.candidates + 1) / (ranks.right + 1)).mean())


def median_rank(ranks: Ranking) -> float:
    """The smallest rank by which at least half of the queries are expected to have met a right answer."""
    kinds, counts = np.unique(np.stack([ranks.candidates, ranks.right]), axis=1, return_counts=True)
    candidates, right = kinds
    behind, rank = np.ones(len(right)), 0
    while (behind * counts).sum() > len(ranks) * (0.5 + 1e-9):  # rounding of a half
        left = np.maximum(candidates - rank, 1)
        behind = behind * np.clip((left - right) / left, 0, 1)
        rank += 1
    return float(rank)


def average_precision(ranks: Ranking) -> float:
    """The mean average precision over the queries, where each has R right answers among m candidates.

    A candidate at rank i is right with the probability R / m, and then (i - 1) (R - 1) / (m - 1) other
    right ones are expected before it: summed over i this is (H + (R - 1) (m - H) / (m - 1)) / m, with the
    harmonic number H of m.
    """
    most = int(ranks.candidates.max(initial=1))
    harmonic = np.cumsum(1 / np.arange(1, most + 1))[ranks.candidates.astype(int) - 1]
    others = np.maximum(ranks.candidates - 1, 1)
    shares: Numbers = (
        harmonic + (ranks.right - 1) * (ranks.candidates - harmonic) / others
    ) / ranks.candidates
    return float(shares.mean())
