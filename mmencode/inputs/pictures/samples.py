"""Conversion of any sample format to 8-bit RGB, piece by piece to bound the memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from .header import SampleFormat

Array = np.ndarray[Any, Any]
Rectangle = tuple[int, int, int, int]
_PLAIN = SampleFormat()
_PIXELS_AT_ONCE = 2**20
_OVERSHOOT = 0.3  # that resizing floats from 0 to 1 may produce; bicubic has 9/32 at worst
_FAINT = 64  # times darker than white, as no real picture is


def rgb(image: Image.Image, samples: SampleFormat = _PLAIN, low: Image.Image | None = None) -> Image.Image:
    """Convert an image to RGB, its transparency composited over white.

    `low` holds the lower bytes of 16-bit colours, where a transparent colour has to be compared with them.
    Raises ValueError for values out of range.
    """
    if image.mode.startswith(("I", "F")) or samples.dtype:
        image = _eight_bits(image, samples)
    if samples.key is not None and low is not None:
        return _without_key(image, low, samples.key)
    if image.has_transparency_data:
        return _over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def unit_range(values: Array) -> Array:
    """Clip floats to 0 to 1; ValueError for those further out than the overshoot of resizing."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not (low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT):  # so written that NaN is refused, too
        raise ValueError(f"{low:g} to {high:g}, not 0 to 1")
    return values if low >= 0 and high <= 1 else values.clip(0, 1)


def _rectangles(image: Image.Image) -> Iterator[Rectangle]:
    width, height = image.size
    across = min(width, _PIXELS_AT_ONCE)
    down = max(1, _PIXELS_AT_ONCE // across)
    for top in range(0, height, down):
        for left in range(0, width, across):
            yield left, top, min(left + across, width), min(top + down, height)


def _eight_bits(image: Image.Image, samples: SampleFormat) -> Image.Image:
    """Scale values so that white is 255; Pillow's own conversion would clip them at 255 instead."""
    top = _require_white_level(image, samples)
    result = Image.new("L", image.size)
    for box in _rectangles(image):
        values = _values(image, box, samples)
        clear = None if samples.transparent is None else values == samples.transparent
        values = values.clip(0, 1) if image.mode == "F" else values
        values = top - values.astype(np.float64) if samples.inverted else values
        piece = np.round(values * (255.0 / top)).astype(np.uint8)
        if clear is not None:
            piece[clear] = 255
        result.paste(Image.fromarray(piece), box)
    return result


def _values(image: Image.Image, box: Rectangle, samples: SampleFormat) -> Array:
    values = np.asarray(cut(image, box))
    return values.view(samples.dtype) if samples.dtype else values


def cut(image: Image.Image, box: Rectangle) -> Image.Image:
    """Cut a rectangle out of an image; Image.crop would apply Pillow's own limit on pixels."""
    size = box[2] - box[0], box[3] - box[1]
    return image if size == image.size else image.resize(size, Image.Resampling.NEAREST, box)


def _require_white_level(image: Image.Image, samples: SampleFormat) -> float:
    """Determine the value of white; ValueError if values exceed it, or all are implausibly far below it."""
    if image.mode.startswith("I;16") and samples.top in (0, 65535):
        return 65535.0
    ranges = [
        (values.min(), values.max())
        for values in (_values(image, box, samples) for box in _rectangles(image))
    ]
    low, high = float(np.min(ranges)), float(np.max(ranges))
    said = f"values of mode {image.mode} go from {low:g} to {high:g}"
    if image.mode == "F":
        if not (low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT):
            raise ValueError(f"{said}, not 0 to 1.0")
        return 1.0
    top = samples.top or 65535.0
    loose = samples.loose or (image.mode == "I" and not samples.top)
    if loose and high <= 255:
        top = 255.0
    elif loose and high <= 65535 < top:
        top = 65535.0
    if low < 0 or high > top:
        raise ValueError(f"{said}, not 0 to {top:g}")
    if top > 65535 and high < top / _FAINT:
        raise ValueError(f"{said}, and {top:g} is white: it would be black; scale them, and pass an array")
    return top


def _over_white(image: Image.Image) -> Image.Image:
    result = Image.new("RGB", image.size)
    for box in _rectangles(image):
        rgba = cut(image, box).convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        result.paste(Image.alpha_composite(white, rgba).convert("RGB"), box)
    return result


def _without_key(image: Image.Image, low: Image.Image, key: tuple[int, int, int]) -> Image.Image:
    """Paint pixels of the transparent 16-bit colour white; `image` has its upper bytes, `low` its lower."""
    image = image if image.mode == "RGB" else image.convert("RGB")
    for box in _rectangles(image):
        upper, lower = np.array(cut(image, box)), np.asarray(cut(low, box))
        clear = ((upper == [value >> 8 for value in key]) & (lower == [value & 255 for value in key])).all(
            axis=2
        )
        upper[clear] = 255
        image.paste(Image.fromarray(upper), box)
    return image
