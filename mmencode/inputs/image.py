"""The reader of images makes an upright RGB `PIL.Image` of a path, bytes, a file, an image or an array."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFile

from ..arguments.columns import column_of
from ..errors import InputError
from ..errors.causes import message_of
from . import pictures
from .gate import common_gate
from .limits import Limits, limit_remedy
from .source import describe, is_source, read_bytes
from .turns import Turns

_CHANNELS = (1, 3, 4)
# Pillow decodes lazily and without locks, and an image may stand twice in a batch, or two share a file.
_turns = Turns()


def read(item: Any, limits: Limits, least: int = 0) -> Image.Image:
    """Read an image as RGB: EXIF orientation applied, alpha composited over white, first frame only.

    With `least`, a JPEG is decoded at a half, a quarter or an eighth of its size as long as its shorter side
    keeps that many pixels: several times as fast for large ones, and not quite the same image.

    Arrays are `[h, w]` or `[h, w, 1|3|4]`, tensors `[h, w]` or `[1|3|4, h, w]`; both uint8, or float from 0
    to 1, where a slight overshoot, as resizing leaves it, is clipped. Pillow's mode "I" counts as 8 bits if
    no value is over 255, else as 16. Raises InputError for everything else.
    """
    source = describe(item)
    if isinstance(item, ImageFile.ImageFile):
        with _turns.at(item, item.fp, seconds=limits.wait, source=source):
            return _decode(item, source, limits)
    if isinstance(item, Image.Image):
        return _decode(item, source, limits)
    if isinstance(item, torch.Tensor):
        return _from_array(_channels_last(item, source), source, limits)
    if isinstance(item, np.ndarray):
        return _from_array(item, source, limits)
    if not is_source(item):
        remedy = "pass a path, bytes, a binary file, a PIL.Image, a numpy array or a tensor"
        if isinstance(item, tuple) and item and _is_picture(item[0]):
            remedy = "it is a picture with its label: pass the picture, (picture for picture, _ in dataset)"
        raise InputError(f"{type(item).__name__} is no image", source=source, remedy=remedy)
    return pictures.decode(read_bytes(item, limits), source, limits, least)


def _is_picture(item: Any) -> bool:
    return isinstance(item, (Image.Image, np.ndarray, torch.Tensor))


def describe_single(batch: Any) -> tuple[str, str] | None:
    """Describe an array or tensor that is one image; those of several have four dimensions."""
    if not isinstance(getattr(batch, "ndim", None), int) or column_of(batch) is not None:
        return None
    return (type(batch).__name__, "") if 0 < batch.ndim < 4 else None


def _decode(image: Image.Image, source: str, limits: Limits) -> Image.Image:
    """Convert a Pillow image to RGB, loading it if need be, within the limits on pixels and memory."""
    pictures.require_pixels(image.size, source, limits)
    pictures.require_header(image, source, limits)
    need = pictures.memory_of(image.size, image.mode)
    if need > limits.memory:
        raise InputError(
            f"it takes about {need} bytes of memory as RGB, and the limit is {limits.memory}",
            source=source,
            remedy=limit_remedy("memory", need),
            fault="limit",
        )
    try:
        with common_gate.holding(need, limits.wait, source):
            image.load()
            return pictures.rgb(pictures.upright(image, _orientation(image)))
    except InputError:
        raise
    except Exception as cause:  # whatever a decoder raises, the item is at fault
        raise pictures.file_closed_error(image, cause, source) or pictures.decoding_error(
            cause, source
        ) from cause


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image, 1 to 8, read by ourselves where Pillow fails on the other tags."""
    try:
        found = image.getexif().get(pictures.ORIENTATION_TAG, 1)
    except Exception:
        exif = image.info.get("exif")
        found = pictures.orientation_of(exif) if isinstance(exif, bytes) else 1
    return found if isinstance(found, int) else 1


def _channels_last(tensor: torch.Tensor, source: str) -> np.ndarray[Any, Any]:
    try:
        array = tensor.detach().cpu()
        array = array.float() if array.is_floating_point() else array
        if array.ndim == 3 and array.shape[0] in _CHANNELS:
            return array.permute(1, 2, 0).numpy()
        if array.ndim == 2:
            return array.numpy()
    except (RuntimeError, TypeError) as cause:  # sparse, quantised, on the meta device
        raise InputError(
            f"the tensor holds no plain pixels: {message_of(cause)}",
            source=source,
            remedy="pass a dense tensor of uint8 or floats",
        ) from cause
    raise InputError(
        f"the tensor's shape is {tuple(array.shape)}",
        source=source,
        remedy=_reshaping_remedy(tuple(array.shape), 0, "permute(2, 0, 1) puts the channels first"),
    )


def _from_array(array: np.ndarray[Any, Any], source: str, limits: Limits) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in _CHANNELS):
        raise InputError(
            f"the array's shape is {array.shape}",
            source=source,
            remedy=_reshaping_remedy(array.shape, 2, "transpose(1, 2, 0) puts the channels last"),
        )
    pictures.require_pixels((array.shape[1], array.shape[0]), source, limits)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype != np.uint8:
        array = _float_to_bytes(array, source)
    return _decode(Image.fromarray(np.ascontiguousarray(array)), source, limits)


def _reshaping_remedy(shape: tuple[int, ...], axis: int, swap: str) -> str:
    """The remedy for an array whose channels, 1, 3 or 4 of them, aren't on the expected axis."""
    layout = "tensors are [h, w] or [1|3|4, h, w]" if axis == 0 else "arrays are [h, w] or [h, w, 1|3|4]"
    if len(shape) == 4 and shape[0] == 1:
        return f"{layout}, and this is a batch of one: pass item[0]"
    if len(shape) != 3:
        return f"{layout}: pass one image"
    if shape[2 - axis] in _CHANNELS:
        return f"{layout}; {swap}"
    if shape[axis] == 2:
        grey = "item[:1]" if axis == 0 else "item[:, :, :1]"
        return f"{layout}; of grey and alpha, {grey} is the grey"
    three = "item[:3]" if axis == 0 else "item[:, :, :3]"
    return f"{layout}; choose the channels that are red, green and blue: {three}, if they are the first"


def _float_to_bytes(array: np.ndarray[Any, Any], source: str) -> np.ndarray[Any, Any]:
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"the array's type is {array.dtype}",
            source=source,
            remedy="make it uint8, or float from 0 to 1",
        )
    try:
        return np.round(pictures.unit_range(array) * 255).astype(np.uint8)
    except ValueError as cause:
        raise InputError(
            f"the array's values go from {cause}",
            source=source,
            remedy="float images are finite and from 0 to 1; divide by 255, or undo the normalisation",
        ) from cause
