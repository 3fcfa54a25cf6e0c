"""Segments are the files, rewritten with true headers, that libsndfile is given to decode."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import InputError


@dataclass(frozen=True, slots=True)
class Segment:
    """A recording, or one of several that are concatenated in a file; lengths in frames of all channels.

    content  a whole file that libsndfile recognises
    frames   the length if it is known before decoding
    most     the largest possible length; a header that claims more is wrong
    skipped  frames at the start that don't belong to the recording
    slack    frames that may be missing at the end, since encoders and decoders count differently
    chatty   whether the decoder may print on stderr
    """

    content: bytes
    frames: int | None = None
    most: int | None = None
    skipped: int = 0
    slack: int = 0
    chatty: bool = False


def truncation_error(fact: str, source: str) -> InputError:
    """The InputError for a file that ends before its samples do."""
    return InputError(
        f"it can't be decoded to its end, it is truncated: {fact}", source=source, remedy="fetch it again"
    )


def damage_error(fact: str, source: str) -> InputError:
    """The InputError for a file whose structure is invalid."""
    return InputError(
        f"it can't be decoded as audio: {fact}", source=source, remedy="fetch it again, or convert it again"
    )
