"""A video as encoders get it: safe, and not decoded before they say which frames they look at."""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, BinaryIO, cast, final

import numpy as np

from mmencode.errors import InputError
from mmencode.inputs import Limits, Waveform, reader

from .colours import Pixels
from .containers import limit_error, open_video, require_pixels
from .decoding import decode_frames
from .files import View
from .timeline import Times, read_timeline


@dataclass(frozen=True, eq=False, slots=True)
class Frames:
    """The frames of a video that were chosen: `pixels`, uint8 RGB `[t, h, w, 3]`, and `times` `[t]`.

    Times are seconds from the first frame on, at which each is shown; NaN where the item has no times.
    """

    pixels: Pixels
    times: Times

    def __len__(self) -> int:
        return len(self.pixels)


class Video(ABC):
    """A video whose frames are decoded when they are asked for, within the limits that it was read with.

    count    how many frames it has
    seconds  its length; None where the item says no rate
    """

    count: int
    seconds: float | None

    def __init__(self, source: str, limits: Limits) -> None:
        self._source = source
        self._limits = limits

    def __eq__(self, other: object) -> bool:
        """Whether two videos have the same frames, by the same file or the same pixels."""
        return isinstance(other, Video) and self._content() == other._content()

    __hash__ = None  # type: ignore[assignment]

    def sample(self, *, count: int | None = None, rate: float | None = None) -> Frames:
        """Decode the frames that a policy chooses, and hold them all; exactly one policy is given.

        `count` takes those that are shown in the middle of that many equal parts of the video, some of them
        twice where it has fewer. `rate` takes those that are shown at each such fraction of a second, the
        first one among them. Raises InputError where they can't be decoded, or would exceed a limit.
        """
        chosen = self.choose(count=count, rate=rate)
        made: Pixels | None = None
        for place, pixels in enumerate(self.frames(chosen)):
            if made is None:
                self._require_kept(len(chosen), pixels.shape)
                made = np.empty((len(chosen), *pixels.shape), np.uint8)
            elif pixels.shape != made.shape[1:]:
                height, width = pixels.shape[:2]
                raise InputError(
                    f"its frames change from {made.shape[2]} x {made.shape[1]} to {width} x {height} pixels",
                    source=self._source,
                    remedy="split it there, or scale it to one size",
                )
            made[place] = pixels
        assert made is not None
        return Frames(made, self.times(chosen))

    def each(self, *, count: int | None = None, rate: float | None = None) -> Iterator[Pixels]:
        """Yield the frames that `sample` gives, RGB `[h, w, 3]`, one by one, without holding any of them."""
        return self.frames(self.choose(count=count, rate=rate))

    def choose(self, *, count: int | None = None, rate: float | None = None) -> list[int]:
        """Choose the numbers of frames by one of the two policies of `sample`, in order."""
        if (count is None) == (rate is None):
            raise TypeError("give either a count or a rate")
        if count is not None:
            if count < 1:
                raise ValueError(f"count is {count}: make it 1 or more")
            self._require_chosen(count)
            return self._spread(count)
        assert rate is not None
        if not rate > 0:
            raise ValueError(f"rate is {rate}: make it a positive number")
        if self.seconds is None:
            raise InputError(
                f"the encoder looks at {rate:g} frames a second, and nobody says how fast these follow",
                source=self._source,
                remedy="pass (frames, rate), with their number in a second",
            )
        self._require_chosen(max(1, int(np.ceil(round(self.seconds * rate, 6)))))
        return self._at_rate(rate)

    @abstractmethod
    def frames(self, numbers: Sequence[int]) -> Iterator[Pixels]:
        """Yield the frames of these numbers, which don't decrease; InputError where one can't be decoded."""

    @abstractmethod
    def times(self, numbers: Sequence[int]) -> Times:
        """The seconds at which the frames of these numbers are shown."""

    @abstractmethod
    def sound(self) -> Waveform | None:
        """Read the sound track, mixed to mono; None where there is none.

        Raises InputError for one that can't be read, and one beyond the limits of recordings.
        """

    @abstractmethod
    def _content(self) -> object:
        """The digest of all that the frames depend on."""

    @abstractmethod
    def _spread(self, count: int) -> list[int]:
        """The numbers of the frames shown in the middle of so many equal parts."""

    @abstractmethod
    def _at_rate(self, rate: float) -> list[int]:
        """The numbers of the frames shown at each such fraction of a second."""

    def _require_chosen(self, count: int) -> None:
        most = self._limits.declared["video.chosen"]
        if count > most:
            fact = f"the encoder would look at {count} of its frames, and {most:.12g} are the most"
            raise limit_error(fact, "chosen", self._source, count)

    def _require_kept(self, count: int, shape: Sequence[int]) -> None:
        need, most = count * shape[0] * shape[1], self._limits.declared["video.kept"]
        if need > most:
            fact = f"{count} of its frames have {need} pixels, and {most:.12g} are the most held at once"
            raise limit_error(fact, "kept", self._source, need)


@final
class FileVideo(Video):
    """A video in a file, which stays open as long as this object lives."""

    def __init__(self, file: BinaryIO, source: str, limits: Limits) -> None:
        super().__init__(source, limits)
        self._file, self._lock = file, threading.Lock()
        with open_video(self._view(), limits, source) as (container, stream):
            self._timeline = read_timeline(container, stream, limits, source)
        self.count = self._timeline.count
        self.seconds = self._timeline.end

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()

    def frames(self, numbers: Sequence[int]) -> Iterator[Pixels]:
        """Decode the frames of these numbers, one after the other."""
        yield from decode_frames(self._view(), self._timeline, numbers, self._limits, self._source)

    def times(self, numbers: Sequence[int]) -> Times:
        """The seconds at which the frames of these numbers are shown."""
        return self._timeline.times[list(numbers)]

    def sound(self) -> Waveform | None:
        """Read the first sound track by mmencode's reader of recordings, within its limits."""
        if not self._timeline.sound:
            return None
        found = reader("audio")(self._view(), self._limits)
        assert isinstance(found, Waveform)
        return found

    def _content(self) -> object:
        return hashlib.file_digest(View(self._file, self._lock), "sha256").digest()

    def _view(self) -> BinaryIO:
        """The file from its beginning, at a place of its own, so that threads don't move each other's."""
        return cast(BinaryIO, View(self._file, self._lock))

    def _spread(self, count: int) -> list[int]:
        return self._numbers_at(np.arange(0.5, count, dtype=np.float64) * (self._timeline.end / count))

    def _at_rate(self, rate: float) -> list[int]:
        steps = np.arange(max(1, ceil(round(self._timeline.end * rate, 6))), dtype=np.float64)
        return self._numbers_at(steps / rate)

    def _numbers_at(self, times: Times) -> list[int]:
        """The numbers of the frames shown at these times; rounding of stamps never shows the one before."""
        places = np.searchsorted(self._timeline.times, times + 1e-6, side="right") - 1
        return [int(place) for place in places]


@final
class ArrayVideo(Video):
    """A video whose frames are in memory, `[t, h, w, 3]` or pictures of one size, perhaps with their rate."""

    def __init__(self, frames: Any, rate: float | None, source: str, limits: Limits) -> None:
        super().__init__(source, limits)
        self._frames = frames
        self._rate = rate
        self.count = len(frames)
        self.seconds = None if rate is None else len(frames) / rate
        height, width = np.shape(frames[0])[:2]
        require_pixels(width, height, limits, source)
        if self.count > limits.declared["video.frames"]:
            fact = f"it has {self.count} frames, and {limits.declared['video.frames']:.12g} are the most"
            raise limit_error(fact, "frames", source, self.count)
        if self.seconds is not None and self.seconds > limits.declared["video.seconds"]:
            fact = (
                f"it is {self.seconds:.0f} s long, and {limits.declared['video.seconds']:.12g} s are the most"
            )
            raise limit_error(fact, "seconds", source, ceil(self.seconds))

    def frames(self, numbers: Sequence[int]) -> Iterator[Pixels]:
        """Yield the frames of these numbers."""
        return (np.ascontiguousarray(self._frames[number]) for number in numbers)

    def times(self, numbers: Sequence[int]) -> Times:
        """The seconds at which the frames of these numbers are shown, NaN where there is no rate."""
        return np.array(numbers, np.float64) / (self._rate or np.nan)

    def sound(self) -> Waveform | None:
        """None: frames have no sound track."""
        return None

    def _content(self) -> object:
        digest = hashlib.sha256()
        for frame in self._frames:
            digest.update(np.ascontiguousarray(frame).data)
        return digest.digest(), np.shape(self._frames[0]), self._rate

    def _spread(self, count: int) -> list[int]:
        return [(2 * step + 1) * self.count // (2 * count) for step in range(count)]

    def _at_rate(self, rate: float) -> list[int]:
        assert self._rate is not None
        steps = range(max(1, int(np.ceil(round(self.count * rate / self._rate, 6)))))
        return [min(self.count - 1, int(step * self._rate / rate + 1e-6)) for step in steps]
