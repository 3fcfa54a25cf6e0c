"""One projection behind another."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

from .base import Projection, Settings


class Chain(Projection):
    """The first leads into one space, the second from the unit vectors of that into another."""

    kind = "chain"

    def __init__(self, first: Projection, second: Projection) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, features: Tensor) -> Tensor:
        """Features `[b, width]` through both, `[b, dim]`."""
        projected: Tensor = self.second(normalize(self.first(features), dim=-1))
        return projected

    @property
    def width(self) -> int | None:
        """That of the first; of the second where the first keeps it."""
        if self.first.width is None and self.first.dim is None:
            return self.second.width
        return self.first.width

    @property
    def dim(self) -> int | None:
        """That of the second; of the first where the second keeps it."""
        return self.second.dim or self.first.dim

    @property
    def settings(self) -> Settings:
        """Kind and settings of both; EncoderError when one can't be saved."""
        from .files import shape_of  # which knows this class, too

        return {"first": shape_of(self.first), "second": shape_of(self.second)}

    @classmethod
    def blank(cls, settings: Settings) -> Chain:
        """Both of their shapes."""
        from .files import blank_of

        return cls(blank_of(settings["first"]), blank_of(settings["second"]))
