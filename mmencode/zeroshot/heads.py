"""A head scores vectors: a weight vector for each label, and the scale from scores to probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..card import require_same_space
from ..embeddings.array_types import Positions, Vectors
from ..embeddings.embeddings import Embeddings
from ..embeddings.search import require_embeddings
from ..plugins.spec import Scoring

_ONE = 1e-4  # closer unit vectors count as equal: one text in two batches differs by so much in float32


@dataclass(frozen=True, eq=False, slots=True)
class Head:
    """Scores vectors for each label: `vectors @ weights.T + offsets`.

    weights  `[labels, dim]`, and one row more for a null class
    offsets  `[labels]`, those of a linear probe; None for cosines
    space    the id of the space that the weights belong to
    scoring  from scores to probabilities, where that is known
    firsts   the place of the first label with the same weights, `[labels]`, where some labels share them: a
             product gives equal rows scores that differ in the last bits, so the first score is used for all
    """

    weights: Vectors
    offsets: Vectors | None
    space: str
    scoring: Scoring | None
    firsts: Positions | None = None

    def scores(self, embeddings: Embeddings) -> Vectors:
        """Score vectors for each label, `[n, labels]`.

        SpaceMismatchError for vectors of another space, ValueError for ones not finite or not of unit length.
        """
        require_embeddings(embeddings, "the argument")
        require_same_space(embeddings.space, self.space, "compared")
        embeddings.require_unit()
        scores: Vectors = embeddings.vectors @ self.weights.T
        if self.offsets is not None:
            scores += self.offsets
        return scores if self.firsts is None else scores[:, self.firsts]


def find_twins(vectors: Vectors) -> Positions:
    """Find two rows of `[n, dim]` that are equal but for rounding, and all rows equal to these; their places.

    Rows that are near each other are so in their projections on any line, too. On a line of random direction
    few other rows are, so that only neighbours on it need to be compared.
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


def find_equal_firsts(vectors: Vectors) -> Positions | None:
    """Find the place of the first row that equals each row; None where all differ."""
    places: dict[bytes, int] = {}
    found = np.array([places.setdefault(row.tobytes(), place) for place, row in enumerate(vectors)], np.int64)
    return None if len(places) == len(vectors) else found
