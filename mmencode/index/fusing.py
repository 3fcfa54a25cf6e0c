"""The fusion of two rankings of one query's rows into one, by their ranks alone.

Cosines and BM25 have no common measure, so that sums of them mean nothing; ranks have. Reciprocal rank fusion
adds up 1 / (60 + rank) over the lists that have a row (Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion
outperforms Condorcet and individual Rank Learning Methods", SIGIR 2009).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .results import Hit, RankedHit

FLATNESS = 60  # the constant of the paper, by which the first ranks don't outweigh all others


@dataclass(frozen=True, slots=True)
class Worded:
    """A row whose words fit a query, by BM25."""

    key: str
    modality: str
    bm25: float
    metadata: Mapping[str, Any]


def fuse(nearest: Sequence[Hit], worded: Sequence[Worded]) -> list[RankedHit]:
    """Fuse the nearest rows of a query and those whose words fit, best first; equal ones by key."""
    by_vector = {hit.key: (rank, hit) for rank, hit in enumerate(nearest, 1)}
    by_words = {row.key: (rank, row) for rank, row in enumerate(worded, 1)}
    found = []
    for key in by_vector | by_words:
        vector_rank, hit = by_vector.get(key, (None, None))
        text_rank, row = by_words.get(key, (None, None))
        facts = hit or row
        assert facts is not None
        ranks = [rank for rank in (vector_rank, text_rank) if rank is not None]
        found.append(
            RankedHit(
                key,
                facts.modality,
                None if hit is None else hit.score,
                facts.metadata,
                None if row is None else row.bm25,
                vector_rank,
                text_rank,
                sum(1 / (FLATNESS + rank) for rank in ranks),
            )
        )
    return sorted(found, key=lambda each: (-each.fused, each.key))
