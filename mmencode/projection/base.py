"""The contract of a projection: features in, vectors of a space out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

Settings = dict[str, Any]


class Projection(nn.Module, ABC):
    """Takes features `[b, width]` to `[b, dim]` in a space; core normalises the result.

    into     the id of the space that it leads into; "" when nobody has said, and then it composes nothing
    report   how well it does that, as the fit that made it found out; plain values that JSON can hold
    note     what its space's card says of it beside its digest: "" or a reservation
    """

    kind: ClassVar[str] = ""  # the name that mmencode's own are saved under
    into: str = ""
    note: str = ""

    def __init__(self) -> None:
        super().__init__()
        self.report: Mapping[str, Any] = {}

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Features `[b, width]` to unnormalised embeddings `[b, dim]`."""

    @property
    def width(self) -> int | None:
        """The width of the features that it takes; None: it doesn't say."""
        return None

    @property
    def dim(self) -> int | None:
        """The width of what it gives; None: that of the features."""
        return None

    @property
    def settings(self) -> Settings:
        """What `blank` needs to make another of the same shape, as plain values."""
        return {}

    @classmethod
    def blank(cls, settings: Settings) -> Projection:
        """One of the shape that `settings` say, whose state is to be filled in."""
        return cls(**settings)


class IdentityProjection(Projection):
    """For encoders whose features already live in the space."""

    kind = "identity"

    def forward(self, features: Tensor) -> Tensor:
        """The features themselves."""
        return features


def owned(tensor: Tensor) -> Tensor:
    """A copy in float32, so that whatever happens to the original changes no projection."""
    return tensor.detach().to(torch.float32, copy=True).contiguous()
