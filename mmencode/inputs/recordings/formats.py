"""Which reader a file is for, by its first bytes. libsndfile never guesses, nor looks for other files."""

from __future__ import annotations

from collections.abc import Callable

from . import chunks, flac, mpeg, ogg
from .part import Part

# Formats of which libsndfile gets the file as it is, by the very bytes by which it recognises them. Left out
# are those whose readers never end on some files (8SVX), print (SDS) or take much for theirs (MPC 2000).
_STARTS = (
    *(b"NIST", b"Creative", b"PVF1", b"Extended Ins", b"ALawSoundFil", b"2BIT", b"MATLAB 5"),
    *(b"fap ", b" paf"),
    b"\0\0\x03\xe8\0\0\0\1\0\0\0\1",
    b"\0\0\0\0\1\0\0\0\1\0\0\0",
)
_LARGEST_RATIO = 2**13  # samples for each byte of a file: a header that says more is wrong

Parser = Callable[[bytes, str], list[Part]]


def behind_labels(content: bytes) -> bytes:
    """A file without the ID3 tags before it, which some programs put before anything."""
    place = 0
    while behind := mpeg.behind_id3(content, place):
        place = behind
    return content[place:]


def parts_of(content: bytes, source: str) -> list[Part]:
    """What libsndfile decodes of a file, part by part; empty if it decodes nothing of it."""
    parser = _parser(content)
    return parser(content, source) if parser else []


def _parser(content: bytes) -> Parser | None:
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
        return flac.parts
    if head == ogg.MAGIC:
        return ogg.parts
    if content.startswith(_STARTS) or _is_ircam(head) or _is_htk(content):
        return _whole
    return mpeg.parts if mpeg.begins(content) else None


def _whole(content: bytes, source: str) -> list[Part]:
    return [Part(content, most=_LARGEST_RATIO * len(content))]


def _is_ircam(head: bytes) -> bool:
    return len(head) == 4 and (
        (head[:2] == b"\x64\xa3" and head[2] < 8 and not head[3])
        or (head[2:] == b"\xa3\x64" and head[1] < 8 and not head[0])
    )


def _is_htk(content: bytes) -> bool:
    return content[8:12] == b"\0\2\0\0" and 2 * int.from_bytes(content[:4], "big") + 12 == len(content)
