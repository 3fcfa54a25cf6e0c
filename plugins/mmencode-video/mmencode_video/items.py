"""The reader of videos makes a Video of a path, bytes, a file, an array or frames; pages show a preview."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from mmencode.errors import InputError
from mmencode.inputs import Limits, open_source, reader

from .video import ArrayVideo, FileVideo, Video

_ARRAYS = "arrays are uint8 [t, h, w, 3], tensors uint8 [t, 3, h, w]"
_TAKEN = f"pass a path, bytes, a binary file, a list of frames, an array, or (frames, rate): {_ARRAYS}"
_FASTEST = 1e6  # frames in a second
_TILES, _TILE = 2, 320  # of the preview: rows and columns of frames, and pixels of a frame's longer side


def read(item: Any, limits: Limits) -> Video:
    """Read a video: a file of which only the times of frames are read, or frames in memory.

    Frames are a uint8 array `[t, h, w, 3]`, a uint8 tensor `[t, 3, h, w]`, or a list of pictures of one size
    (arrays, tensors, PIL images), each read as mmencode reads images. `(frames, rate)` says how many of them
    are shown in a second. Raises InputError for everything else, and for what exceeds a limit.
    """
    source = _describe(item)
    if isinstance(item, tuple):
        if len(item) != 2 or isinstance(item[0], (str, bytes)):
            raise InputError("a tuple is (frames, rate)", source=source, remedy=_TAKEN)
        return _from_frames(item[0], _rate_of(item[1], source), limits, source)
    if isinstance(item, (np.ndarray, torch.Tensor, list)):
        return _from_frames(item, None, limits, source)
    if isinstance(item, Image.Image):
        raise InputError(
            "a picture is no video", source=source, remedy='encode it as "image", or pass [picture]'
        )
    if isinstance(item, Mapping) or item is None:
        raise InputError(f"{type(item).__name__} is no video", source=source, remedy=_TAKEN)
    file = open_source(item, limits)
    try:
        return FileVideo(file, source, limits)
    except BaseException:
        file.close()
        raise


def preview(item: Any, limits: Limits) -> Image.Image:
    """Draw four frames of a video, at even distances, on one sheet; a video of one frame is that frame."""
    video = read(item, limits)
    tiles = [Image.fromarray(frame) for frame in video.each(count=1 if video.count == 1 else _TILES**2)]
    for tile in tiles:
        tile.thumbnail((_TILE, _TILE))
    if len(tiles) == 1:
        return tiles[0]
    width, height = tiles[0].size
    sheet = Image.new("RGB", (_TILES * width, _TILES * height))
    for place, tile in enumerate(tiles):
        sheet.paste(tile, (place % _TILES * width, place // _TILES * height))
    return sheet


def _describe(item: Any) -> str:
    """Name an item for messages by its path, or by what it is; mmencode names all others."""
    if isinstance(item, str):
        return item if len(item) <= 200 else f"{item[:200]}... ({len(item)} characters)"
    frames = item[0] if isinstance(item, tuple) and item else item
    if isinstance(frames, (np.ndarray, torch.Tensor)):
        return f"{type(frames).__name__} {tuple(frames.shape)}"
    if isinstance(frames, list):
        return f"list of {len(frames)} frames"
    return ""


def _rate_of(rate: Any, source: str) -> float:
    valid = isinstance(rate, (int, float, np.number)) and not isinstance(rate, bool)
    if not valid or not 0 < rate <= _FASTEST:
        raise InputError(
            f"the rate is {rate!r:.80}", source=source, remedy="give the number of frames in a second"
        )
    return float(rate)


def _from_frames(frames: Any, rate: float | None, limits: Limits, source: str) -> Video:
    if isinstance(frames, list):
        return ArrayVideo(_pictures(frames, limits, source), rate, source, limits)
    if isinstance(frames, torch.Tensor):
        if frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != torch.uint8:
            raise _shape_error(tuple(frames.shape), frames.dtype, source)
        frames = frames.detach().cpu().permute(0, 2, 3, 1).numpy()
    if not isinstance(frames, np.ndarray):
        raise InputError(f"{type(frames).__name__} is no frames", source=source, remedy=_TAKEN)
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise _shape_error(frames.shape, frames.dtype, source)
    if not frames.size:
        raise InputError(f"it is empty: {frames.shape}", source=source, remedy="leave it out")
    return ArrayVideo(frames, rate, source, limits)


def _shape_error(shape: tuple[int, ...], kind: Any, source: str) -> InputError:
    return InputError(f"it is {kind} {shape}", source=source, remedy=_ARRAYS)


def _pictures(frames: list[Any], limits: Limits, source: str) -> list[Any]:
    """Read the pictures of a list, which must have one size, and together be within the limit."""
    if not frames:
        raise InputError("it has no frames", source=source, remedy="leave it out")
    if len(frames) > limits.declared["video.frames"]:
        return frames  # refused by what is made of it
    plain = Limits(
        bytes=limits.bytes, pixels=limits.pixels, scans=limits.scans, memory=limits.memory, wait=limits.wait
    )
    read_picture = reader("image")
    made: list[Any] = []
    for number, frame in enumerate(frames):
        try:
            pixels = np.asarray(read_picture(frame, plain))
        except InputError as error:
            raise InputError(
                f"frame {number}: {error.fact}", source=error.source, remedy=error.remedy, fault=error.fault
            ) from error.__cause__
        if made and pixels.shape != made[0].shape:
            sizes = " and ".join(f"{one.shape[1]} x {one.shape[0]}" for one in (made[0], pixels))
            raise InputError(
                f"its frames are of several sizes, {sizes} pixels", source=source, remedy="scale them to one"
            )
        made.append(pixels)
        held, most = len(made) * pixels.shape[0] * pixels.shape[1], limits.declared["video.kept"]
        if held > most:
            from .containers import limit_error

            fact = (
                f"its first {len(made)} frames have {held} pixels, and {most:.12g} are the most held at once"
            )
            raise limit_error(fact, "kept", source, len(frames) * pixels.shape[0] * pixels.shape[1])
    return made
