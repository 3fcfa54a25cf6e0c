"""Poolings of hidden states `[b, t, width]` with a mask `[b, t]` to feature vectors `[b, width]`.

The mask is true, or 1, where a position counts; every item has at least one such position.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["cls", "last_token", "max", "mean"]


def cls(hidden: Tensor, mask: Tensor) -> Tensor:
    """Take the first position, whatever the mask says: `[CLS]` of BERT and ViT."""
    return hidden[:, 0]


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Average the positions that count."""
    weight = mask.unsqueeze(-1).to(hidden.dtype)  # [b, t, 1]
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1)


def last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """Take the last position that counts, on whichever side the padding stands."""
    steps = torch.arange(hidden.shape[1], device=hidden.device)
    last = torch.where(mask.bool(), steps, -1).amax(dim=1)  # [b]
    return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]


def max(hidden: Tensor, mask: Tensor) -> Tensor:
    """Take the largest value of each feature over the positions that count."""
    return hidden.masked_fill(~mask.bool().unsqueeze(-1), float("-inf")).amax(dim=1)
