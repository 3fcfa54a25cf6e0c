"""What scores vectors: a vector for each label, and how its scores become probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..card import require_same_space
from ..embeddings.array_types import Positions, Vectors
from ..embeddings.embeddings import Embeddings
from ..plugins.spec import Scoring

_ONE = 1e-4  # the distance up to which unit vectors are one: what float32 makes of one text in two batches


@dataclass(frozen=True, eq=False, slots=True)
class Head:
    """Scores are `vectors @ weights.T + offsets`.

    weights  `[labels, dim]`, and one row more for a null class
    offsets  `[labels]`, those of a linear probe; None for cosines
    space    the id of the space that the weights belong to
    scoring  from scores to probabilities, where that is known
    firsts   the place of the first label with the same weights, `[labels]`, where some have the same: a
             product gives them scores that differ in the last bits
    """

    weights: Vectors
    offsets: Vectors | None
    space: str
    scoring: Scoring | None
    firsts: Positions | None = None

    def scores(self, embeddings: Embeddings) -> Vectors:
        """`[n, labels]`.

        SpaceMismatchError for vectors of another space, ValueError for ones not finite or not of unit length.
        """
        if not isinstance(embeddings, Embeddings):
            raise TypeError(
                f"a {type(embeddings).__name__} doesn't say what space it belongs to: pass the Embeddings "
                "that encode() gives"
            )
        require_same_space(embeddings.space, self.space, "compared")
        embeddings.require_unit()
        scores: Vectors = embeddings.vectors @ self.weights.T
        if self.offsets is not None:
            scores += self.offsets
        return scores if self.firsts is None else scores[:, self.firsts]


def twins(vectors: Vectors) -> Positions:
    """The places of the rows of `[n, dim]` that are the first pair's vector but for rounding; none without.

    Rows that lie near to each other lie so on any line, too: on one of random direction, few others do.
    """
    along = vectors.astype(np.float64) @ np.random.default_rng(0).normal(size=vectors.shape[1])
    order = np.argsort(along, kind="stable")
    for step in range(1, len(vectors)):
        near = np.flatnonzero(along[order[step:]] - along[order[:-step]] <= _ONE * np.sqrt(vectors.shape[1]))
        if not len(near):
            break
        pairs = np.stack([order[near], order[near + step]], axis=1)
        gaps = np.linalg.norm(vectors[pairs[:, 0]] - vectors[pairs[:, 1]], axis=1)
        if (gaps <= _ONE).any():
            first = pairs[gaps <= _ONE].min()
            return np.flatnonzero(np.linalg.norm(vectors - vectors[first], axis=1) <= _ONE)
    return np.empty(0, np.int64)


def equal_firsts(vectors: Vectors) -> Positions | None:
    """For each row the place of the first one that equals it; None where all differ."""
    places: dict[bytes, int] = {}
    found = np.array([places.setdefault(row.tobytes(), place) for place, row in enumerate(vectors)], np.int64)
    return None if len(places) == len(vectors) else found
