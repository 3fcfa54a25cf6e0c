"""Images: from a path, bytes, a file, `PIL.Image`, array or tensor to an upright RGB `PIL.Image`."""

from __future__ import annotations

import functools
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from ..errors import InputError
from .limits import Limits, raising
from .source import describe, is_source, read_bytes, without_address
from .turns import Turns

# What people keep photographs in. Left out on purpose: formats whose readers start other programs (EPS) or
# that nobody has looked at in years; a file's ending doesn't choose its reader.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
_ORIENTATION = 0x0112
# Pillow decodes lazily, and one lazy image may stand twice in a batch, or two share a file.
_turns = Turns()


def read(item: Any, limits: Limits, least: int = 0) -> Image.Image:
    """An RGB image, its EXIF orientation applied, alpha laid over white, the first frame of an animation.

    With `least`, a JPEG is decoded at a half, a quarter or an eighth of its size as long as its shorter side
    keeps that many pixels: several times as fast for large ones, and not quite the same image.

    Arrays are `[h, w]` or `[h, w, 1|3|4]`, tensors `[h, w]` or `[1|3|4, h, w]`; both uint8, or float from 0
    to 1. Raises InputError for everything else.
    """
    source = describe(item)
    if isinstance(item, Image.Image):
        with _turns.at(item, getattr(item, "fp", None), seconds=limits.wait, source=source):
            return _decode(item, source, limits)
    if isinstance(item, torch.Tensor):
        return _from_array(_channels_last(item, source), source, limits)
    if isinstance(item, np.ndarray):
        return _from_array(item, source, limits)
    if not is_source(item):
        raise InputError(
            f"{type(item).__name__} is no image",
            source=source,
            remedy="pass a path, bytes, a binary file, a PIL.Image, a numpy array or a tensor",
        )
    content = read_bytes(item, limits)
    try:
        image = Image.open(BytesIO(content), formats=_formats())
    except Exception as cause:  # whatever a decoder raises at untrusted bytes, the item is at fault
        raise _undecodable(cause, source) from cause
    if least and image.format in ("JPEG", "MPO") and image.width * image.height <= limits.pixels:
        shrink = min(image.size) / least
        image.draft(None, (int(image.width / shrink), int(image.height / shrink)))
    return _decode(image, source, limits)


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this build of Pillow can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _decode(image: Image.Image, source: str, limits: Limits) -> Image.Image:
    width, height = image.size
    if width * height == 0:
        raise InputError(f"it has no pixels: {width} x {height}", source=source, remedy="leave it out")
    if width * height > limits.pixels:
        raise InputError(
            f"it is {width} x {height}: {width * height} pixels, and the limit is {limits.pixels}",
            source=source,
            remedy=f"scale it down, or {raising('pixels')}",
            fault="limit",
        )
    try:
        image.load()
        if image.getexif().get(_ORIENTATION, 1) != 1:
            image = ImageOps.exif_transpose(image)
        return _to_rgb(image)
    except InputError:
        raise
    except Exception as cause:  # as above
        raise _undecodable(cause, source) from cause


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        image = _to_eight_bits(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """16 bits to 8 by their high byte, floats from 0 to 1; Pillow's own conversion would clip them at 255."""
    values = np.asarray(image)
    top = 1.0 if image.mode == "F" else 65535.0
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > top:
        raise ValueError(
            f"values of mode {image.mode} go from {values.min()} to {values.max()}, not 0 to {top}"
        )
    return Image.fromarray(np.round(values * (255.0 / top)).astype(np.uint8))


def _channels_last(tensor: torch.Tensor, source: str) -> np.ndarray[Any, Any]:
    array = tensor.detach().cpu()
    if array.is_floating_point():
        array = array.float()
    if array.ndim == 3:
        if array.shape[0] not in (1, 3, 4):
            raise InputError(
                f"the tensor's shape is {tuple(array.shape)}",
                source=source,
                remedy="tensors are [channels, h, w]; permute(2, 0, 1) puts the channels first",
            )
        array = array.permute(1, 2, 0)
    return array.numpy()


def _from_array(array: np.ndarray[Any, Any], source: str, limits: Limits) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise InputError(
            f"the array's shape is {array.shape}",
            source=source,
            remedy="arrays are [h, w] or [h, w, 1|3|4]; transpose(1, 2, 0) puts the channels last",
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype != np.uint8:
        array = _float_to_bytes(array, source)
    if array.size == 0:
        raise InputError(f"it has no pixels: {array.shape}", source=source, remedy="leave it out")
    return _decode(Image.fromarray(np.ascontiguousarray(array)), source, limits)


def _float_to_bytes(array: np.ndarray[Any, Any], source: str) -> np.ndarray[Any, Any]:
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"the array's type is {array.dtype}",
            source=source,
            remedy="make it uint8, or float from 0 to 1",
        )
    if array.size and not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
        raise InputError(
            f"the array's values go from {array.min()} to {array.max()}",
            source=source,
            remedy="float images are finite and from 0 to 1; divide by 255, or undo the normalisation",
        )
    return np.round(array * 255).astype(np.uint8)


def _undecodable(cause: Exception, source: str) -> InputError:
    return InputError(
        f"it can't be decoded as an image: {type(cause).__name__}: {without_address(cause)}",
        source=source,
        remedy=f"the formats read are {', '.join(FORMATS)}; a truncated file must be fetched again",
    )
