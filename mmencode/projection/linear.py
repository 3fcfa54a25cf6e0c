"""Linear projections, and their fits in closed form to a stream of pairs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..arguments.counts import require_positive
from ..embeddings.embeddings import Embeddings
from ..encoder import digest
from ..errors import FitError
from .base import Projection, Settings, copy_as_float32
from .pairs import FLAT, require_pairs, require_several, require_varied

Pairs = Iterable[tuple[Tensor, Tensor]]


class Linear(Projection):
    """Projects features of unit length by one matrix: `weight [dim, width] @ features + bias [dim]`."""

    kind = "linear"

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", copy_as_float32(weight))
        self.register_buffer("bias", copy_as_float32(bias))
        self.weight: Tensor
        self.bias: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """Project features `[b, width]`, of which only the direction counts, to `[b, dim]`."""
        return normalize(features, dim=-1) @ self.weight.T + self.bias

    def spread(self, centre: Tensor, by: float) -> Linear:
        """Make a projection whose outputs lie `by` times as far from a centre `[dim]`."""
        return Linear(by * self.weight, centre + by * (self.bias - centre))

    @property
    def width(self) -> int:
        """The columns of the matrix."""
        return self.weight.shape[1]

    @property
    def dim(self) -> int:
        """The rows of the matrix."""
        return self.weight.shape[0]

    @property
    def settings(self) -> Settings:
        """The shape of the matrix."""
        return {"dim": self.dim, "width": self.width}

    @classmethod
    def blank(cls, settings: Settings) -> Linear:
        """Make a matrix of zeros, and a bias of zeros."""
        return cls(torch.zeros(settings["dim"], settings["width"]), torch.zeros(settings["dim"]))


class Truncation(Projection):
    """Keeps the first `dim` numbers, for encoders trained so that these suffice.

    Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022.
    """

    kind = "truncation"

    def __init__(self, dim: int) -> None:
        super().__init__()
        self._dim = require_positive(dim, "dim")

    def forward(self, features: Tensor) -> Tensor:
        """Project features `[b, width]` to `[b, dim]`."""
        return features[:, : self._dim]

    @property
    def dim(self) -> int:
        """The number of numbers that are kept."""
        return self._dim

    @property
    def settings(self) -> Settings:
        """The number of numbers that are kept, as `dim`."""
        return {"dim": self._dim}

    def get_extra_state(self) -> Tensor:
        """Give the number of numbers that are kept, so that it counts in the digest."""
        return torch.tensor([self._dim])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the width that `get_extra_state` gave."""
        self._dim = int(state[0])


@dataclass(slots=True)
class Moments:
    """Sums over pairs of rows, in float64: all that a fit in closed form needs of any number of pairs.

    x, y   the sums of unit features `[width]` and of targets `[dim]`
    xx     the sum of outer products of features, `[width, width]`
    yx     the sum of outer products of targets and features, `[dim, width]`
    """

    count: int = 0
    x: Tensor = field(default_factory=lambda: torch.zeros(0))
    y: Tensor = field(default_factory=lambda: torch.zeros(0))
    xx: Tensor = field(default_factory=lambda: torch.zeros(0))
    yx: Tensor = field(default_factory=lambda: torch.zeros(0))

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Add features `[b, width]` and their targets `[b, dim]`; only the features' direction counts."""
        require_pairs(features, targets)
        x, y = normalize(features.detach().double(), dim=-1), targets.detach().double()
        self._join(Moments(len(x), x.sum(dim=0), y.sum(dim=0), x.T @ x, y.T @ x))

    def _join(self, other: Moments) -> None:
        """Add the sums of other pairs; FitError when their rows have other widths."""
        if not self.count:
            self.x, self.y = torch.zeros_like(other.x), torch.zeros_like(other.y)
            self.xx, self.yx = torch.zeros_like(other.xx), torch.zeros_like(other.yx)
        if other.yx.shape != self.yx.shape:
            raise FitError(
                f"after pairs of widths {len(self.x)} and {len(self.y)} "
                f"come {len(other.x)} and {len(other.y)}",
                remedy="all features come from one encoder, and all targets from one space",
            )
        self.count += other.count
        self.x += other.x
        self.y += other.y
        self.xx += other.xx
        self.yx += other.yx

    @property
    def target(self) -> Tensor:
        """The mean of the targets, `[dim]`."""
        return self.y / max(1, self.count)

    def centre(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute the means `[width]`, `[dim]` and covariances `[width, width]`, `[dim, width]`.

        FitError for fewer than two pairs, and for features that are all the same.
        """
        require_several(self.count)
        mean, target = self.x / self.count, self.target
        covariance = self.xx / self.count - torch.outer(mean, mean)
        require_varied(covariance.diagonal())
        return mean, target, covariance, self.yx / self.count - torch.outer(target, mean)


def moments(pairs: Pairs) -> Moments:
    """Sum up a stream of batches, each of features `[b, width]` and targets `[b, dim]`."""
    found = Moments()
    for features, targets in pairs:
        found.add(features, targets)
    return found


def add_moments(parts: Iterable[Moments]) -> Moments:
    """Sum up the moments of several streams of pairs."""
    found = Moments()
    for part in parts:
        if part.count:
            found._join(part)
    return found


def ridge(found: Moments, penalty: float = 1e-2) -> Linear:
    """Fit the matrix with the smallest squared error plus `penalty` times its own squared size.

    Hoerl & Kennard, "Ridge Regression", Technometrics 1970. The penalty, a positive number, is in units of
    the features' mean variance, so that it means the same whatever their width. FitError when the targets
    don't vary with the features at all.
    """
    if not 0 < penalty < inf:  # at 0, columns that don't vary leave the matrix undetermined
        raise ValueError(f"penalty is {penalty!r}: make it a positive number")
    mean, target, covariance, cross = _centre_related(found)
    lift = torch.full_like(mean, penalty * float(covariance.diagonal().mean()))
    weight = torch.linalg.solve(covariance + torch.diag(lift), cross.T).T  # [dim, width]
    return Linear(weight, target - weight @ mean)


def procrustes(found: Moments) -> Linear:
    """Fit the rotation, with reflection, that brings centred features nearest to their centred targets.

    Schoenemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 1966. Where the
    widths differ, the rows of the matrix, or its columns, are orthonormal; rows are the directions that vary
    most with the targets, which are not always the nearest. One scale for all is fitted, too. FitError when
    the targets don't vary with the features at all.
    """
    mean, target, covariance, cross = _centre_related(found)
    left, values, right = torch.linalg.svd(cross, full_matrices=False)
    rotation = left @ right  # [dim, width]
    spread = torch.einsum("dw,wv,dv->", rotation, covariance, rotation)
    weight = rotation * (values.sum() / spread)
    return Linear(weight, target - weight @ mean)


def _centre_related(found: Moments) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centre the moments of pairs; FitError unless the targets vary with the features, however little."""
    mean, target, covariance, cross = found.centre()
    if float(cross.abs().max()) < FLAT:
        raise FitError("the targets don't vary with the features", remedy="see whether they are all the same")
    return mean, target, covariance, cross


def from_classifier(head: nn.Linear, anchors: Embeddings, penalty: float = 1e-2) -> Linear:
    """Fit the matrix that takes a classifier's weights for each label to that label's vector.

    A label's weights point where the features of its items do. The map of DeViSE (Frome et al.,
    "DeViSE: A Deep Visual-Semantic Embedding Model", NeurIPS 2013), fitted to prototypes instead of images.
    FitError when there isn't one anchor for each of the labels.
    """
    projection = ridge(moments([(head.weight, torch.tensor(anchors.vectors))]), penalty)
    projection.into = anchors.space
    return projection


def whitening(found: Moments, dim: int) -> Linear:
    """Fit the `dim` directions of the largest variance, each brought to variance one: PCA whitening.

    Jegou & Chum, "Negative evidences and co-occurences in image retrieval", ECCV 2012. It needs no targets,
    and makes a space of its own. FitError when the features don't vary in so many directions.
    """
    mean, _, covariance, _ = found.centre()
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0), vectors.flip(1)
    varying = int((values > FLAT).sum())
    if not 1 <= dim <= varying:
        raise FitError(
            f"the features vary in {varying} directions, and {dim} were asked for",
            remedy=f"ask for 1 to {varying}, or fit it on more items",
        )
    weight = vectors[:, :dim].T / values[:dim].sqrt()[:, None]
    projection = Linear(weight, -weight @ mean)
    projection.into = f"whitened@{digest(projection).removeprefix('sha256:')[:16]}"
    return projection
