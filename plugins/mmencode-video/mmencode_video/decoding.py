"""Chosen frames are decoded one after the other, from the nearest frame that decoding can begin with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import av
import numpy as np

from mmencode.errors import InputError
from mmencode.inputs import Limits

from .colours import Pixels, to_rgb
from .containers import damage_error, open_video, require_pixels
from .timeline import Timeline

_NEAR = 8  # frames up to which decoding goes on rather than seeks


class _Unreachable(Exception):
    """Seeking didn't lead where it should, so that decoding has to begin with the first frame."""


def decode_frames(
    file: BinaryIO, timeline: Timeline, wanted: Sequence[int], limits: Limits, source: str
) -> Iterator[Pixels]:
    """Yield the frames of these numbers, which don't decrease, as upright RGB; only one is held at a time.

    Raises InputError where one of them can't be decoded.
    """
    done = 0
    if len(timeline.stamps):
        try:
            for pixels in _decode(file, timeline, wanted, limits, source, seeks=True):
                yield pixels
                done += 1
            return
        except _Unreachable:
            pass
    yield from _decode(file, timeline, wanted[done:], limits, source, seeks=False)


def _decode(
    file: BinaryIO, timeline: Timeline, wanted: Sequence[int], limits: Limits, source: str, *, seeks: bool
) -> Iterator[Pixels]:
    with open_video(file, limits, source) as (container, stream):
        cursor = _Cursor(container, stream, timeline, seeks)
        ratio = float(stream.sample_aspect_ratio or 1)
        before, pixels = -1, None
        for number in wanted:
            if number != before or pixels is None:
                pixels = _convert(cursor.frame(number), ratio, timeline.times[number], limits, source)
            before = number
            yield pixels


def _convert(frame: Any, ratio: float, time: float, limits: Limits, source: str) -> Pixels:
    if frame is None:
        raise damage_error("nothing of it can be decoded", source)
    require_pixels(frame.width, frame.height, limits, source)
    if frame.is_corrupt:
        raise damage_error(f"the frame at {time:.2f} s is damaged", source)
    try:
        return to_rgb(frame, ratio)
    except InputError as error:
        error.source = source
        raise
    except (ValueError, av.FFmpegError) as cause:
        raise damage_error(
            f"its frames, of the format {frame.format.name}, can't be converted", source
        ) from cause


class _Cursor:
    """The place in a stream up to which it was decoded."""

    def __init__(self, container: Any, stream: Any, timeline: Timeline, seeks: bool) -> None:
        self._container, self._stream, self._timeline = container, stream, timeline
        self._stamped, self._seeks = len(timeline.stamps) > 0, seeks
        self._frames: Iterator[Any] = container.decode(stream)
        self._shown: Any = None  # the frame that was decoded last, and its number
        self._at = -1
        self._next: tuple[Any, int] | None = None
        self._sought = False

    def frame(self, number: int) -> Any:
        """Decode on to the frame that is shown at that number; None where none is."""
        if self._seeks:
            self._seek(number)
        while self._at < number or self._shown is None:
            following = self._next or self._decode()
            if following is None:
                break
            if following[1] > number and self._shown is not None:
                self._next = following
                break
            if following[1] > number and self._sought:
                raise _Unreachable
            (self._shown, self._at), self._next = following, None
        return self._shown

    def _seek(self, number: int) -> None:
        """Go to the last frame before `number` that decoding can begin with, where that saves work."""
        place = int(np.searchsorted(self._timeline.keys, self._timeline.stamps[number], side="right")) - 1
        if place < 0:
            return
        key = int(self._timeline.keys[place])
        if int(np.searchsorted(self._timeline.stamps, key)) - self._at <= _NEAR:
            return
        try:
            self._container.seek(key, stream=self._stream)
        except av.FFmpegError as cause:
            raise _Unreachable from cause
        self._frames = self._container.decode(self._stream)
        self._shown, self._at, self._next, self._sought = None, -1, None, True

    def _decode(self) -> tuple[Any, int] | None:
        """Decode the next frame, with its number; None at the end."""
        try:
            frame = next(self._frames, None)
        except av.FFmpegError as cause:
            if self._sought:
                raise _Unreachable from cause
            raise
        if frame is None:
            return None
        if not self._stamped:
            return frame, self._at + 1
        if frame.pts is None:
            if self._seeks:
                raise _Unreachable
            return frame, self._at + 1
        return frame, int(np.searchsorted(self._timeline.stamps, frame.pts, side="right")) - 1
