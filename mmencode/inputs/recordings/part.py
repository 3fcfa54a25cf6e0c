"""What libsndfile is handed: a whole file of one format, which its own header describes truly."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import InputError


@dataclass(frozen=True, slots=True)
class Part:
    """A recording, or one of those that stand behind each other in a file.

    content  the bytes of a file that libsndfile recognises by the first of them
    frames   how many samples it gives, each for all channels; None where only decoding tells
    most     no more than these can be in it, so that a header which says more is wrong
    skipped  frames at its start that aren't the recording's
    slack    frames that may be missing, since encoders and decoders count them differently
    chatty   whether its decoder may print
    """

    content: bytes
    frames: int | None = None
    most: int | None = None
    skipped: int = 0
    slack: int = 0
    chatty: bool = False


def truncated(fact: str, source: str) -> InputError:
    """An error for a file that ends within its own frames."""
    return InputError(
        f"it can't be decoded to its end, it is truncated: {fact}", source=source, remedy="fetch it again"
    )


def damaged(fact: str, source: str) -> InputError:
    """An error for a file whose structure makes no sense."""
    return InputError(
        f"it can't be decoded as audio: {fact}", source=source, remedy="fetch it again, or convert it again"
    )
