"""The policy by which an encoder chooses frames: how many of a video, or how many of each second."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mmencode.errors import UnknownNameError

from .colours import Pixels
from .video import Video

_POLICY = re.compile(r"(?:(?P<count>\d{1,5})|(?P<rate>\d{1,4}(?:\.\d{1,4})?)fps):(?P<rest>.+)", re.DOTALL)
DEFAULT = 8  # frames, as CLIP4Clip and X-CLIP take for short videos


@dataclass(frozen=True, slots=True)
class Policy:
    """A number of frames of each video, or of each of its seconds; one of the two is None."""

    count: int | None = DEFAULT
    rate: float | None = None

    def each(self, video: Video) -> Iterator[Pixels]:
        """Yield the frames of a video that the policy chooses."""
        return video.each(count=self.count, rate=self.rate)

    def __str__(self) -> str:
        if self.count is not None:
            return f"the frames in the middle of {self.count} equal parts"
        return f"{self.rate:g} frames of each second, the first one among them"


def split_policy(variant: str, family: str) -> tuple[Policy, str]:
    """Split `<count>:<rest>` or `<rate>fps:<rest>`; what begins with neither has the default policy.

    Raises UnknownNameError for a policy that chooses nothing.
    """
    found = _POLICY.fullmatch(variant)
    if found is None:
        return Policy(), variant
    count = int(found["count"]) if found["count"] else None
    rate = float(found["rate"]) if found["rate"] else None
    if not (count or rate):
        raise UnknownNameError(
            f"{variant!r} chooses no frames",
            remedy=f"write {family}8:{found['rest']} for eight frames, or {family}2fps:{found['rest']} for "
            "two of each second",
        )
    return Policy(count, rate), found["rest"]
