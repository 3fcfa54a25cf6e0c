"""Two projections, applied one after the other."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import normalize

from .base import Projection, Settings, shape_of


class Chain(Projection):
    """Applies two projections, into a first space and from the unit vectors of that into a second."""

    kind = "chain"
    inner: ClassVar[tuple[str, ...]] = ("first", "second")

    def __init__(self, first: Projection, second: Projection) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, features: Tensor) -> Tensor:
        """Project features `[b, width]` by both, to `[b, dim]`."""
        projected: Tensor = self.second(normalize(self.first(features), dim=-1))
        return projected

    @property
    def width(self) -> int | None:
        """The width that the first takes, or the second where the first keeps any width."""
        if self.first.width is None and self.first.dim is None:
            return self.second.width
        return self.first.width

    @property
    def dim(self) -> int | None:
        """The width that the second gives, or the first where the second keeps any width."""
        return self.second.dim or self.first.dim

    @property
    def settings(self) -> Settings:
        """The shapes of both projections."""
        return {"first": shape_of(self.first), "second": shape_of(self.second)}
