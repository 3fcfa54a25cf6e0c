"""What encoders do with pixels: bound their resizing, carry them as uint8, normalise them on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError
from ..inputs.pictures import cut

_SLENDER = 128  # times as long as wide; resized to 256 pixels, such a picture takes 34 MB
_LONG = 2**20  # pixels of a side; squeezing one together takes 32 bytes for each


def fit_to_crop(image: Image.Image) -> Image.Image:
    """The image without the ends that a resize of its shorter side and a crop from its middle never look at.

    Resized whole, a picture of 1 x 3000 would become one of 256 x 768 000. Even multiples of the shorter
    side go from both ends, so that the crop is the same, but for the rounding of a resize whose sides don't
    come out even. Pictures up to 128 times as long as wide stay as they are.
    """
    short = min(image.size)
    ends = (max(image.size) // short - _SLENDER) // 4 * 2 * short
    if ends <= 0:
        return image
    if image.width > image.height:
        return cut(image, (ends, 0, image.width - ends, image.height))
    return cut(image, (0, ends, image.width, image.height - ends))


def fit_to_squeeze(image: Image.Image) -> Image.Image:
    """The image itself, for encoders that look at all of it; InputError when a side is too long for that."""
    return _fitting(image, max(image.size) <= _LONG, f"sides of up to {_LONG} pixels")


def fit_to_resize(image: Image.Image) -> Image.Image:
    """The image itself, for encoders that resize its shorter side; InputError when the other is too long."""
    fits = max(image.size) <= _SLENDER * min(image.size)
    return _fitting(image, fits, f"pictures up to {_SLENDER} times as long as wide")


def _fitting(image: Image.Image, fits: bool, taken: str) -> Image.Image:
    if not fits:
        size = f"{image.width} x {image.height}"
        raise InputError(
            f"it is {size}, and an encoder that looks at all of a picture takes {taken}",
            source="",  # known to who called the encoder
            remedy="cut it into pieces",
            fault="limit",
        )
    return image


def normalised(pixels: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype) -> Tensor:
    """uint8 pixels `[b, 3, h, w]` as (value / 255 - mean) / std, channels last.

    In float32, because bfloat16 can't hold most means; then in `dtype`, that of the weights.
    """
    scale, shape = 255.0, (1, -1, 1, 1)
    offsets = torch.tensor([scale * value for value in mean], device=pixels.device).view(shape)
    spreads = torch.tensor([scale * value for value in std], device=pixels.device).view(shape)
    values = pixels.to(torch.float32, memory_format=torch.channels_last)
    return values.sub_(offsets).div_(spreads).to(dtype)
