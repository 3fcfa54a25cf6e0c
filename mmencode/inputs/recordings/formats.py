"""Formats of sound files, recognised by their first bytes, so that libsndfile doesn't have to guess."""

from __future__ import annotations

from collections.abc import Callable

from . import chunks, flac, mpeg, ogg
from .segment import Segment

# Formats whose files libsndfile gets as they are, by the same magic bytes that it looks for itself. Left out
# are those whose readers hang on some files (8SVX), print (SDS) or accept nearly anything (MPC 2000).
_STARTS = (
    *(b"NIST", b"Creative", b"PVF1", b"Extended Ins", b"ALawSoundFil", b"2BIT", b"MATLAB 5"),
    *(b"fap ", b" paf"),
    b"\0\0\x03\xe8\0\0\0\1\0\0\0\1",
    b"\0\0\0\0\1\0\0\0\1\0\0\0",
)
_LARGEST_RATIO = 2**13  # samples for each byte of a file; a header that claims more is wrong

Splitter = Callable[[bytes, str], list[Segment]]


def without_id3(content: bytes) -> bytes:
    """Take leading ID3 tags off a file, which some programs put before any format."""
    place = 0
    while end := mpeg.id3_end(content, place):
        place = end
    return content[place:]


def split(content: bytes, source: str) -> list[Segment]:
    """Split a file into the segments that libsndfile can decode; empty for a format that it can't."""
    splitter = _splitter(content)
    return splitter(content, source) if splitter else []


def _splitter(content: bytes) -> Splitter | None:
    head, kind = content[:4], content[8:12]
    if chunks.is_wav(content):
        return chunks.wav
    if head == b"riff":
        return chunks.w64
    if head == b"FORM" and kind in (b"AIFF", b"AIFC"):
        return chunks.aiff
    if head == b"caff" and kind == b"desc":
        return chunks.caf
    if head in (b".snd", b"dns."):
        return chunks.au
    if head == flac.MAGIC:
        return flac.split
    if head == ogg.MAGIC:
        return ogg.split
    if content.startswith(_STARTS) or _is_ircam(head) or _is_htk(content):
        return _whole_file
    return mpeg.split if mpeg.begins(content) else None


def _whole_file(content: bytes, source: str) -> list[Segment]:
    return [Segment(content, most=_LARGEST_RATIO * len(content))]


def _is_ircam(head: bytes) -> bool:
    return len(head) == 4 and (
        (head[:2] == b"\x64\xa3" and head[2] < 8 and not head[3])
        or (head[2:] == b"\xa3\x64" and head[1] < 8 and not head[0])
    )


def _is_htk(content: bytes) -> bool:
    return content[8:12] == b"\0\2\0\0" and 2 * int.from_bytes(content[:4], "big") + 12 == len(content)
