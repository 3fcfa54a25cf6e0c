"""Decoded frames become upright RGB of eight bits, whatever their format, range, matrix and rotation."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from mmencode.errors import InputError

from . import hdr

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

_CONSTANT = 10  # FFmpeg's number of BT.2020's matrix of constant luminance
_WIDEST = 4.0  # width by height of a pixel, either way; others are damage


def to_rgb(frame: Any, ratio: float = 1.0) -> Pixels:
    """Convert a frame to RGB `[h, w, 3]`: upright, with square pixels, full range, over white if transparent.

    `ratio` is the width of a pixel by its height. High dynamic range (PQ, HLG) is brought to standard range:
    see `hdr`. Other frames are converted as FFmpeg does it, with BT.601 where they don't name their matrix.
    """
    width = max(1, round(frame.width * ratio)) if 1 / _WIDEST <= ratio <= _WIDEST else frame.width
    if frame.color_trc in hdr.TRANSFERS:
        pixels = hdr.to_standard(_convert(frame, width, "rgb48le"), frame.color_trc)
    elif _is_transparent(frame):
        pixels = _over_white(_convert(frame, width, "rgba"))
    else:
        pixels = _convert(frame, width, "rgb24")
    return np.ascontiguousarray(_upright(pixels, frame))


def _convert(frame: Any, width: int, form: str) -> Any:
    if frame.colorspace == _CONSTANT:
        raise InputError(
            "its colours are BT.2020 of constant luminance", source="", remedy="convert it to mp4 (H.264)"
        )
    known = frame.colorspace in [*Colorspace]
    ranged = ColorRange(frame.color_range) if frame.color_range in (1, 2) else None
    found = frame.reformat(
        format=form,
        width=width,
        height=frame.height,
        src_colorspace=Colorspace(frame.colorspace) if known else None,
        src_color_range=ranged,
        interpolation=Interpolation.BILINEAR,
        threads=1,
    )
    return found.to_ndarray()


def _is_transparent(frame: Any) -> bool:
    return any(component.is_alpha for component in frame.format.components) or frame.format.has_palette


def _over_white(pixels: Pixels) -> Pixels:
    alpha = pixels[..., 3:].astype(np.uint16)
    if (alpha == 255).all():
        return pixels[..., :3]
    mixed = pixels[..., :3].astype(np.uint16) * alpha + 255 * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)


def _upright(pixels: Pixels, frame: Any) -> Pixels:
    """Turn and mirror a frame as its display matrix says, by right angles."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None or len(bytes(matrix)) < 36:
        return pixels
    a, b, _, c, d, *_ = struct.unpack("<9i", bytes(matrix)[:36])
    if abs(b) > abs(a):  # a turn by a quarter: columns become rows
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    if a < 0:
        pixels = pixels[:, ::-1]
    return pixels[::-1] if d < 0 else pixels
