"""Vectors of length 1: how rows are checked for that, and how they are brought to it.

`unit_rows` computes lengths in float64 and refuses rows without a direction; `scale_to_unit` computes them in
float32 and lets such rows stay short. They differ in the last bits, so neither can stand for the other
without changing vectors that are stored already.
"""

from __future__ import annotations

import numpy as np

from .array_types import Vectors

SHORTEST = 1e-6  # means and differences of unit vectors that are shorter are nothing but rounding error
_TOLERANCE = 2e-3  # of the squared length of what counts as a unit vector


def require_unit(vectors: Vectors, what: str = "vector") -> None:
    """Raise ValueError, naming the first, for rows `[n, dim]` that aren't finite or not of length 1."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.einsum("nd,nd->n", vectors, vectors)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < _TOLERANCE))
    if not len(wrong):
        return
    broken = wrong[~np.isfinite(vectors[wrong]).all(axis=1)]
    if len(broken):
        raise ValueError(
            f"the {what} of row {broken[0]} isn't finite ({len(broken)} such rows of {len(vectors)}): "
            "leave these rows out, and blank ones by embeddings[~embeddings.blank]"
        )
    length = np.linalg.norm(vectors[wrong[0]].astype(np.float64))
    raise ValueError(
        f"the {what} of row {wrong[0]} has length {length:g} ({len(wrong)} such rows of {len(vectors)}): "
        "vectors of a space have length 1, as encode() gives them, and blank rows are left out by "
        "embeddings[~embeddings.blank]"
    )


def unit_rows(vectors: Vectors, what: str) -> Vectors:
    """Divide rows `[n, dim]` by their lengths, which are computed in float64.

    ValueError for a row of zeros, which has no direction; `what` says in the message what is zero.
    """
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    zeros = np.flatnonzero(lengths == 0)
    if len(zeros):
        raise ValueError(
            f"{what} of row {zeros[0]} are all zero and have no direction ({len(zeros)} such rows of "
            f"{len(vectors)}): leave these rows out"
        )
    scaled = np.empty(vectors.shape, np.float32)
    np.divide(vectors, lengths[:, None], out=scaled, casting="same_kind")
    return scaled


def scale_to_unit(vectors: Vectors, shortest: float = SHORTEST) -> Vectors:
    """Divide rows `[n, dim]` by their lengths, those shorter than `shortest` by `shortest` instead.

    A row that is nothing but rounding error thus stays short, and is similar to nothing.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, shortest), np.float32)
