"""The contract that every encoder keeps: items of one modality in, features out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ..plugins.spec import Scoring

Tensors = dict[str, Tensor]


class Encoder(nn.Module, ABC):
    """Turns items of one modality into features; mmencode reads, batches, moves and normalises around it.

    width          the last dimension of the features
    preprocessing  in a few words, as are tokenizer, pooling and windows: what the features depend on besides
                   the weights. These words are part of the space's identity: change them whenever the numbers
                   change
    architecture   for a member of a family, what is computed with the weights, wherever these are stored:
                   "timm resnet18", with the settings that change the numbers but not the weights' shapes.
                   Where it is "", the member's name counts, without the path in it
    weights_digest a digest of where the weights come from, when these are computed by sums that machines
                   round differently, as an adapter merged into its base is. Where it is "", that of the
                   weights themselves counts
    widths         to which vectors may be cut, where the model was trained for that, and its spec can't say
                   it, since each checkpoint has its own
    resolution     how many pixels of an image's shorter side `preprocess` looks at, 0 where all count; with
                   fast=True an image may be decoded at a smaller scale, to three times that at least
    """

    width: int
    architecture: str = ""
    weights_digest: str = ""
    preprocessing: str = ""
    tokenizer: str = ""
    pooling: str = ""
    windows: str = ""
    resolution: int = 0
    widths: tuple[int, ...] = ()

    @property
    def grid(self) -> tuple[int, int] | None:
        """The (rows, columns) that an image's tokens fill row by row; None where there is no grid."""
        return None

    @property
    def gives_many(self) -> bool:
        """Whether the encoder gives many vectors for an item, as a MultiEncoder does, and not one."""
        return False

    @property
    def scoring(self) -> Scoring | None:
        """The scale and bias for cosines with texts that the model was trained with; None without them."""
        return None

    @abstractmethod
    def preprocess(self, item: Any) -> Tensors:
        """Turn one safe item (str, RGB `PIL.Image`, `Waveform`) into CPU tensors.

        It runs in worker threads, so it must be thread-safe; it is deterministic, and the tensors have no
        batch dimension. An InputError that it raises is reported as it is, any other exception as an
        InputError of that item. A text encoder whose tokenizer may leave nothing of a text calls
        `mmencode.checkpoints.require_tokens`.
        """

    def collate(self, items: list[Tensors]) -> Tensors:
        """Join preprocessed items into one batch `[b, ...]`; this default stacks tensors of equal shapes."""
        return {key: torch.stack([item[key] for item in items]) for key in items[0]}

    @abstractmethod
    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]` of a collated batch, on the device and in the dtype of weights."""

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute contextual outputs `[b, t, width]` and their mask `[b, t]`.

        Raises NotImplementedError for an encoder that has none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no token outputs")

    def cost(self, tensors: Tensors) -> int:
        """Estimate the work of one preprocessed item, in any unit; items of like cost share a batch."""
        return sum(tensor.numel() for tensor in tensors.values())
