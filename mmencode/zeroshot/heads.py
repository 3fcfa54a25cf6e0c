"""What scores vectors: a vector for each label, and how its scores become probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..card import require_same_space
from ..embeddings import Embeddings, Vectors
from ..spec import Scoring


@dataclass(frozen=True, eq=False, slots=True)
class Head:
    """Scores are `vectors @ weights.T + offsets`.

    weights  `[labels, dim]`, and one row more for a null class
    offsets  `[labels]`, those of a linear probe; None for cosines
    space    the id of the space that the weights belong to
    scoring  from scores to probabilities, where that is known
    """

    weights: Vectors
    offsets: Vectors | None
    space: str
    scoring: Scoring | None

    def scores(self, embeddings: Embeddings) -> Vectors:
        """`[n, labels]`; SpaceMismatchError for vectors of another space, ValueError for ones not finite."""
        if not isinstance(embeddings, Embeddings):
            raise TypeError(
                f"a {type(embeddings).__name__} doesn't say what space it belongs to: pass the Embeddings "
                "that encode() gives"
            )
        require_same_space(embeddings.space, self.space, "compared")
        require_finite(embeddings)
        scores: Vectors = embeddings.vectors @ self.weights.T
        if self.offsets is not None:
            scores += self.offsets
        return scores


def require_finite(embeddings: Embeddings) -> None:
    """ValueError that names the first row with a NaN or an infinity."""
    if np.isfinite(embeddings.vectors).all():
        return
    rows = np.flatnonzero(~np.isfinite(embeddings.vectors).all(axis=1))
    raise ValueError(
        f"row {rows[0]} isn't finite ({len(rows)} such rows of {len(embeddings)}): leave these rows out"
    )
