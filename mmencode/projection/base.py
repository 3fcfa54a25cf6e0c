"""The contract of a projection, which turns features of an encoder into vectors of a space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

Settings = dict[str, Any]


class Projection(nn.Module, ABC):
    """Takes features `[b, width]` to `[b, dim]` in a space; core normalises the result.

    into     the id of the space that it leads into; "" when unknown, and then it can't compose a space
    report   how well it does that, as measured by the fit that made it; plain values that JSON can hold
    note     a reservation that stands beside its digest in its space's card, or ""
    """

    kind: ClassVar[str] = ""  # the name that mmencode's own are saved under
    inner: ClassVar[tuple[str, ...]] = ()  # the names of settings that are shapes of projections
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
        """The width of the features that it takes; None where any width will do or it isn't known."""
        return None

    @property
    def dim(self) -> int | None:
        """The width of the vectors that it gives; None where it keeps that of the features."""
        return None

    @property
    def settings(self) -> Settings:
        """The values that `blank` makes another projection of the same shape from, as JSON can hold them.

        Those named in `inner` are the shapes of projections.
        """
        return {}

    @classmethod
    def blank(cls, settings: Settings) -> Projection:
        """Make a projection of these settings, whose state is still to be loaded.

        Those named in `inner` are blank projections already.
        """
        return cls(**settings)


class IdentityProjection(Projection):
    """Leaves features as they are, for encoders whose features already live in the space.

    `into` is the id of that space. `align`, given this as its method, sets it, and measures whether they do.
    """

    kind = "identity"

    def __init__(self, into: str = "") -> None:
        super().__init__()
        self.into = into

    def forward(self, features: Tensor) -> Tensor:
        """Return the features as they are."""
        return features


def shape_of(projection: Projection) -> Settings:
    """The kind and the settings of a projection: all but its state, as JSON can hold it."""
    return {"kind": projection.kind, "settings": projection.settings}


def copy_as_float32(tensor: Tensor) -> Tensor:
    """Copy a tensor to float32, so that later changes of the original change no projection."""
    return tensor.detach().to(torch.float32, copy=True).contiguous()
