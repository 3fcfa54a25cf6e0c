"""Projections: the heads that take an encoder's features into a space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

Activation = Literal["softmax", "sigmoid", "none"]


class Projection(nn.Module, ABC):
    """Takes features `[b, width]` to `[b, dim]` in a space; core normalises the result."""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Features `[b, width]` to unnormalised embeddings `[b, dim]`."""


class IdentityProjection(Projection):
    """For encoders whose features already live in the space."""

    def forward(self, features: Tensor) -> Tensor:
        """The features themselves."""
        return features


class LabelAnchored(Projection):
    """Any classifier whose labels are words reaches the space of those words, with no training pairs.

    The convex combination of semantic embeddings (ConSE; Norouzi et al., "Zero-Shot Learning by Convex
    Combination of Semantic Embeddings", ICLR 2014): the `top` labels with the highest scores, weighted by
    those scores, average the labels' own vectors.

    anchors      `[labels, dim]`, the vector of each label in the space
    head         the classifier on top of the features; None when the features are its outputs already
    activation   what turns the classifier's outputs into scores >= 0
    prior        `[labels]`, how strongly each label answers to anything at all; scores are divided by
                 prior + `floor`, so that general labels don't swamp specific ones
    top          how many labels take part
    """

    def __init__(
        self,
        anchors: Tensor,
        *,
        head: nn.Module | None = None,
        activation: Activation = "softmax",
        prior: Tensor | None = None,
        floor: float = 0.01,
        top: int = 10,
    ) -> None:
        super().__init__()
        self.head = nn.Identity() if head is None else head
        self.activation = activation
        self.top = min(top, anchors.shape[0])
        gain = torch.ones(anchors.shape[0]) if prior is None else 1 / (prior.float() + floor)
        self.register_buffer("anchors", anchors.float().contiguous())
        self.register_buffer("gain", gain)
        self.anchors: Tensor
        self.gain: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """Features `[b, width]` to the weighted mean of the best labels' anchors, `[b, dim]`."""
        scores = self.scores(features)  # [b, labels]
        best, labels = scores.topk(self.top, dim=-1)  # [b, top]
        weights = best / best.sum(dim=-1, keepdim=True).clamp_min(1e-12)
        return torch.einsum("bt,btd->bd", weights, self.anchors[labels])

    def scores(self, features: Tensor) -> Tensor:
        """How strongly each label answers, `[b, labels]`, in float32 and with the prior divided out."""
        outputs: Tensor = self.head(features).float()
        if self.activation == "softmax":
            outputs = outputs.softmax(dim=-1)
        elif self.activation == "sigmoid":
            outputs = outputs.sigmoid()
        return outputs * self.gain

    def get_extra_state(self) -> Tensor:
        """The settings that aren't weights, so that they are saved with them and count in the digest."""
        return torch.tensor([self.top, ["softmax", "sigmoid", "none"].index(self.activation)])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what `get_extra_state` gave."""
        self.top = int(state[0])
        self.activation = ("softmax", "sigmoid", "none")[int(state[1])]
