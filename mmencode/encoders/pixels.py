"""Helpers for encoders of images: limits on resizing, and normalising uint8 pixels on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError
from ..inputs.pictures import cut

_SLENDER = 128  # length to width: resized to a shorter side of 256 pixels, such a picture takes 34 MB
_LONG = 2**20  # pixels of a side: resizing takes 32 bytes for each of them


def fit_to_crop(image: Image.Image) -> Image.Image:
    """Cut off the ends of an image that a resize of its shorter side and a crop from the middle never see.

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
    """Return an image for an encoder that resizes all of it; InputError when a side is too long for that."""
    return _require_fit(image, max(image.size) <= _LONG, f"sides of up to {_LONG} pixels")


def fit_to_resize(image: Image.Image) -> Image.Image:
    """Return an image for an encoder that resizes its shorter side; InputError when it is too slender."""
    fits = max(image.size) <= _SLENDER * min(image.size)
    return _require_fit(image, fits, f"pictures up to {_SLENDER} times as long as wide")


def _require_fit(image: Image.Image, fits: bool, taken: str) -> Image.Image:
    if not fits:
        size = f"{image.width} x {image.height}"
        raise InputError(
            f"it is {size}, and an encoder that looks at all of a picture takes {taken}",
            source="",  # the engine adds it
            remedy="cut it into pieces",
            fault="limit",
        )
    return image


def normalise(pixels: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype) -> Tensor:
    """Normalise uint8 pixels `[b, 3, h, w]` to (value / 255 - mean) / std, channels last, in `dtype`.

    It computes in float32, since bfloat16 can't hold most means.
    """
    scale, shape = 255.0, (1, -1, 1, 1)
    offsets = torch.tensor([scale * value for value in mean], device=pixels.device).view(shape)
    spreads = torch.tensor([scale * value for value in std], device=pixels.device).view(shape)
    values = pixels.to(torch.float32, memory_format=torch.channels_last)
    return values.sub_(offsets).div_(spreads).to(dtype)


normalised = normalise  # the old name, kept for one release
