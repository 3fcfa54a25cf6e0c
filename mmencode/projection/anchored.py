"""A projection from a classifier, whose labels are words, into the space of those words."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ..arguments.counts import require_positive
from ..embeddings.embeddings import Embeddings
from ..errors import EncoderError
from .base import Projection, Settings, copy_as_float32

Activation = Literal["softmax", "sigmoid", "none"]
_ACTIVATIONS: tuple[Activation, ...] = ("softmax", "sigmoid", "none")


class LabelAnchored(Projection):
    """Takes the outputs of a classifier into the space of its labels' words, without training pairs.

    The convex combination of semantic embeddings (ConSE; Norouzi et al., "Zero-Shot Learning by Convex
    Combination of Semantic Embeddings", ICLR 2014): the `top` labels with the highest scores, weighted by
    those scores, average the labels' own vectors.

    anchors      `[labels, dim]`, the vector of each label in the space; Embeddings also say which space
    head         the classifier on top of the features; None when the features are its outputs already
    activation   what turns the classifier's outputs into scores >= 0
    prior        `[labels]`, the mean score of each label over all kinds of items; scores are divided by
                 prior + `floor`, so that general labels don't swamp specific ones
    top          how many labels take part
    """

    into: str

    head: nn.Module
    top: int
    activation: Activation

    kind = "label-anchored"

    def __init__(
        self,
        anchors: Tensor | Embeddings,
        *,
        head: nn.Module | None = None,
        activation: Activation = "softmax",
        prior: Tensor | None = None,
        floor: float = 0.01,
        top: int = 10,
    ) -> None:
        super().__init__()
        if isinstance(anchors, Embeddings):
            self.into = anchors.space
            anchors = torch.tensor(anchors.vectors)
        labels = len(anchors)
        if activation not in _ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}: make it one of {', '.join(_ACTIVATIONS)}")
        top = require_positive(top, "top")
        if prior is not None and prior.shape != (labels,):
            raise ValueError(
                f"prior has the shape {list(prior.shape)}: make it [{labels}], one for each label"
            )
        self.head = nn.Identity() if head is None else head
        self.activation = activation
        self.top = min(top, labels)
        self.register_buffer("anchors", copy_as_float32(anchors))
        self.register_buffer(
            "gain", torch.ones(labels) if prior is None else 1 / (copy_as_float32(prior) + floor)
        )
        self.anchors: Tensor
        self.gain: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """Project features `[b, width]` to the weighted mean of the best labels' anchors, `[b, dim]`."""
        scores = self.scores(features)  # [b, labels]
        best, labels = scores.topk(self.top, dim=-1)  # [b, top]
        weights = best / best.sum(dim=-1, keepdim=True).clamp_min(1e-12)
        anchors = self.anchors[labels]  # in bfloat16 where an encoder has the projection in it, and is cast
        return torch.einsum("bt,btd->bd", weights, anchors.float()).to(anchors.dtype)

    def scores(self, features: Tensor) -> Tensor:
        """Score each label for features `[b, width]`: `[b, labels]`, float32, with the prior divided out."""
        outputs: Tensor = self.head(features).float()
        if self.activation == "softmax":
            outputs = outputs.softmax(dim=-1)
        elif self.activation == "sigmoid":
            outputs = outputs.sigmoid()
        return outputs * self.gain

    @property
    def width(self) -> int | None:
        """The width of a linear head's inputs, the number of labels without a head, else None."""
        if isinstance(self.head, nn.Linear):
            return self.head.in_features
        return len(self.anchors) if isinstance(self.head, nn.Identity) else None

    @property
    def dim(self) -> int:
        """The width of the anchors."""
        return self.anchors.shape[1]

    @property
    def settings(self) -> Settings:
        """The shapes of the anchors and of a linear head; EncoderError for a head of another kind."""
        labels, dim = self.anchors.shape
        head: Settings | None = None
        if type(self.head) is nn.Linear:  # a subclass may compute something else
            head = {"width": self.head.in_features, "bias": self.head.bias is not None}
        elif type(self.head) is not nn.Identity:
            raise EncoderError(
                f"a projection whose head is {type(self.head).__name__} can't be saved",
                remedy="only those with a linear head or none can; ship another one in a plugin",
            )
        return {"labels": labels, "dim": dim, "head": head}

    @classmethod
    def blank(cls, settings: Settings) -> LabelAnchored:
        """Make anchors and head of these shapes; settings that aren't weights come with the state."""
        head = settings["head"]
        return cls(
            torch.zeros(settings["labels"], settings["dim"]),
            head=None if head is None else nn.Linear(head["width"], settings["labels"], bias=head["bias"]),
        )

    def get_extra_state(self) -> Tensor:
        """Give the settings that aren't weights, so that they are saved with them and count in the digest."""
        return torch.tensor([self.top, _ACTIVATIONS.index(self.activation)])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what `get_extra_state` gave; ValueError for settings out of range."""
        top, activation = state.tolist()
        if not (1 <= top <= len(self.anchors) and 0 <= activation < len(_ACTIVATIONS)):
            raise ValueError(
                f"its top is {top}, of {len(self.anchors)} labels, and its activation is number {activation}"
            )
        self.top = top
        self.activation = _ACTIVATIONS[activation]
