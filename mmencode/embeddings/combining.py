"""Several query vectors are combined into one: the sum of texts and examples, less what is unwanted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .blanks import require_none_blank
from .embeddings import Embeddings

_NOTHING = 1e-4  # of the weights' sum: the length that float32 leaves of vectors that cancel out


def combine(embeddings: Embeddings, weights: Sequence[float]) -> Embeddings:
    """Sum up all rows by weight and normalise the sum: one query that searches by all of them at once.

    A negative weight turns away from its row. The modality stays. ValueError unless there is a finite weight
    for each row, and when the rows cancel each other out.
    """
    factors = np.asarray(weights, np.float64)
    if factors.shape != (len(embeddings),) or not len(embeddings) or not np.isfinite(factors).all():
        raise ValueError(
            f"{len(embeddings)} rows have the weights {list(weights)}: give a finite number for each"
        )
    require_none_blank(embeddings.blank, "searched by")
    total = factors @ embeddings.vectors.astype(np.float64)  # [dim]
    length = np.linalg.norm(total)
    if length <= _NOTHING * np.abs(factors).sum():
        raise ValueError(
            f"rows with the weights {list(weights)} cancel each other out: nothing is left to search by; "
            "change a weight or leave one out"
        )
    row = np.asarray(total / length, np.float32)[None]  # [1, dim]
    return Embeddings(
        row,
        space=embeddings.space,
        modality=embeddings.modality,
        towers=embeddings.towers,
        widths=embeddings.widths,
    )
