"""Pixels travel as uint8, a quarter of the memory, and are normalised on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def normalised(pixels: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype) -> Tensor:
    """uint8 pixels `[b, 3, h, w]` as (value / 255 - mean) / std, channels last.

    In float32, because bfloat16 can't hold most means; then in `dtype`, that of the weights.
    """
    scale, shape = 255.0, (1, -1, 1, 1)
    offsets = torch.tensor([scale * value for value in mean], device=pixels.device).view(shape)
    spreads = torch.tensor([scale * value for value in std], device=pixels.device).view(shape)
    values = pixels.to(torch.float32, memory_format=torch.channels_last)
    return values.sub_(offsets).div_(spreads).to(dtype)
