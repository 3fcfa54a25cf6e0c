"""Rows of different lengths as one tensor, with a mask of what is no padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def pad_rows(rows: Sequence[Tensor], value: float = 0) -> tuple[Tensor, Tensor]:
    """Pad rows `[t, ...]` of different lengths to one tensor `[b, t, ...]`, with a mask `[b, t]`.

    Shorter rows are filled up at the end with `value`, where the mask is false.
    """
    padded = pad_sequence(list(rows), batch_first=True, padding_value=value)
    lengths = torch.tensor([len(row) for row in rows], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]
