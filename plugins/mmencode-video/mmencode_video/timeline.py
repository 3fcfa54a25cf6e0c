"""The times of all frames of a video, from its packets, without decoding any of them."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from mmencode.errors import InputError
from mmencode.inputs import Limits

from .containers import damage_error, limit_error

Times = np.ndarray[Any, np.dtype[np.float64]]
Stamps = np.ndarray[Any, np.dtype[np.int64]]

_ROUNDING = 1e-6  # seconds
_PACKETS = 16  # of all streams for each frame that is allowed
_MISSING, _SLACK, _FEW = 0.02, 1.0, 5  # of the stated length, seconds and frames that may be missing
# These state when a frame is decoded rather than shown, so that frames are told by their number.
_UNSTAMPED = ("avi", "mpegvideo")


@dataclass(frozen=True, slots=True)
class Timeline:
    """The times of a video's frames, in the order in which they are shown.

    times    in seconds, from the first frame on
    stamps   the same in the stream's own unit; empty where frames have no reliable ones
    keys     the stamps of frames that decoding can begin with
    end      seconds at which the last frame ends
    sound    whether the file has a sound track
    """

    times: Times
    stamps: Stamps
    keys: Stamps
    end: float
    sound: bool

    @property
    def count(self) -> int:
        """The number of frames."""
        return len(self.times)


def read_timeline(container: Any, stream: Any, limits: Limits, source: str) -> Timeline:
    """Read the times of all packets; InputError for a video that is empty, too long or truncated."""
    stamps: list[int] = []
    keys: list[int] = []
    most = limits.declared["video.frames"]
    unstamped = container.format.name in _UNSTAMPED
    duration, last, packets, seen = 0, 0.0, 0, 0
    for packet in container.demux():
        packets += 1
        if packets > _PACKETS * most or len(stamps) > most:
            raise limit_error(f"it has more than {most:.12g} frames", "frames", source)
        stamp = packet.dts if packet.pts is None or unstamped else packet.pts
        seen += bool(packet.size and packet.stream_index == stream.index)
        if not packet.size or packet.is_discard:
            continue
        if stamp is not None:
            last = max(last, float((stamp + (packet.duration or 0)) * packet.time_base))
        if packet.stream_index != stream.index:
            continue
        unstamped = unstamped or packet.pts is None
        stamps.append(stamps[-1] + duration if stamp is None and stamps else stamp or 0)
        if packet.is_keyframe:
            keys.append(stamps[-1])
        duration = packet.duration or duration
    if not stamps:
        raise InputError("it has no frames", source=source, remedy="leave it out, or fetch it again")
    _require_whole(container, last, source)
    if seen < (1 - _MISSING) * stream.frames - _FEW:
        raise damage_error(
            f"it is truncated, with {seen} of the {stream.frames} frames that it states", source
        )
    ordered = np.unique(np.array(stamps, np.int64))
    if unstamped and len(ordered) < len(stamps):  # no times at all
        ordered = np.arange(len(stamps), dtype=np.int64) * (duration or 1)
    unit = float(stream.time_base)
    times = (ordered - ordered[0]) * unit
    step = duration * unit or (float(np.median(np.diff(times))) if len(times) > 1 else 0.0)
    end = float(times[-1]) + (step or 1 / float(stream.average_rate or 25))
    if end > limits.declared["video.seconds"] + _ROUNDING:
        fact = f"it is {end:.0f} s long, and {limits.declared['video.seconds']:.12g} s are the most"
        raise limit_error(fact, "seconds", source, ceil(round(end, 6)))
    none = np.zeros(0, np.int64)
    return Timeline(
        times,
        none if unstamped else ordered,
        none if unstamped else np.unique(np.array(keys, np.int64)),
        end,
        bool(container.streams.audio),
    )


def _require_whole(container: Any, last: float, source: str) -> None:
    """Raise InputError for a file that ends far before the length that its header states."""
    stated = (container.duration or 0) / 1e6
    start = max(0.0, (container.start_time or 0) / 1e6)
    if last - start < (1 - _MISSING) * stated - _SLACK:
        raise damage_error(
            f"it is truncated, with {max(0.0, last - start):.1f} s of the {stated:.1f} s that it states",
            source,
        )
