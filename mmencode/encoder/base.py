"""The encoder that another one is built over, as the other one's target gets it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from .contract import Encoder


@dataclass(frozen=True, eq=False, slots=True)
class Base:
    """The encoder of a space that another one is built over, and the way from its features into the space.

    encoder     the network, which the space holds once for both where the other one has it as a submodule
    projection  a copy of the space's own: from features `[b, encoder.width]` to vectors `[b, width]`, which
                are normalised only behind it
    width       of the vectors in the space
    name        what is computed with the weights, for the words of an identity: the encoder's architecture,
                or its name
    """

    encoder: Encoder
    projection: nn.Module
    width: int
    name: str
