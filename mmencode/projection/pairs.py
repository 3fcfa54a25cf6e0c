"""Checks of the pairs of rows that projections are fitted to."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import FitError

FLAT = 1e-12  # a smaller variance, of features of unit length, is nothing but rounding


def require_pairs(features: Tensor, targets: Tensor) -> None:
    """Raise FitError unless features and targets are finite, `[n, width]` and `[n, dim]`."""
    shapes = f"{list(features.shape)} and {list(targets.shape)}"
    if features.ndim != 2 or targets.ndim != 2 or len(features) != len(targets):
        raise FitError(
            f"features and targets have the shapes {shapes}",
            remedy="give a row of each for every pair: [n, width] and [n, dim]",
        )
    if not (torch.isfinite(features).all() and torch.isfinite(targets).all()):
        raise FitError("some of the vectors aren't finite", remedy="leave their items out")


def require_several(count: int) -> None:
    """Raise FitError for fewer than two pairs."""
    if count < 2:
        raise FitError(f"{count} pairs are too few", remedy="give at least two, better hundreds")


def require_varied(variance: Tensor) -> None:
    """Raise FitError when the variances `[width]` of all columns of the features are zero."""
    if float(variance.max()) < FLAT:
        raise FitError(
            "all features are the same", remedy="see whether the encoder looks at these items at all"
        )
