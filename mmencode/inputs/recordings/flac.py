"""FLAC files (RFC 9639) get their number of samples from the last frame, since the header may lack it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from .segment import Segment, damage_error, truncation_error

MAGIC = b"fLaC"
_INFO = 34  # bytes of the metadata block that comes first
_STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
_UNKNOWN = (0, 2**31 - 1, 2**31, 2**32 - 1, 2**36 - 1)  # placeholders for the number of samples
_MOST_TRIES = 4096  # places that look like the start of a frame
_LONGEST_HEADER = 16
_SYNCS = (b"\xff\xf8", b"\xff\xf9")  # of fixed and of variable block size
_RATES = (0, 88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000)


class _Info(NamedTuple):
    """The fields of the first metadata block (STREAMINFO) that are needed."""

    smallest: int  # block size in samples
    rate: int
    channels: int
    total: int  # samples of each channel


def split(content: bytes, source: str) -> list[Segment]:
    """Split into segments, one for each of the files that are concatenated."""
    starts = sorted({place for start in _STARTS for place in _places(content, start)} | {0})
    ends = [*starts[1:], len(content)]
    return [_segment(content[start:end], source) for start, end in zip(starts, ends, strict=True)]


def _places(content: bytes, wanted: bytes) -> list[int]:
    found, place = [], content.find(wanted)
    while place >= 0:
        found.append(place)
        place = content.find(wanted, place + 1)
    return found


def _segment(content: bytes, source: str) -> Segment:
    if len(content) < 8 + _INFO:
        raise truncation_error(
            f"a FLAC file's header has {8 + _INFO} bytes, and the file only {len(content)}", source
        )
    info = _info(content)
    frames = count_samples(content, _audio_start(content, source), info)
    if frames is None or frames == info.total:
        return Segment(content)
    if frames < info.total and info.total not in _UNKNOWN:
        raise truncation_error(f"it has {frames} samples, and its header claims {info.total}", source)
    packed = (content[21] & 0xF0) << 32 | frames
    return Segment(content[:21] + packed.to_bytes(5, "big") + content[26:])


def _info(content: bytes) -> _Info:
    packed = int.from_bytes(content[18:26], "big")
    smallest = int.from_bytes(content[8:10], "big")
    return _Info(smallest, packed >> 44, (packed >> 41 & 7) + 1, packed & (1 << 36) - 1)


def _audio_start(content: bytes, source: str) -> int:
    """The offset where the metadata ends and the frames begin."""
    place = len(MAGIC)
    while place + 4 <= len(content):
        last, size = content[place] >> 7, int.from_bytes(content[place + 1 : place + 4], "big")
        place += 4 + size
        if last:
            return place
    raise damage_error("its metadata has no end", source)


def count_samples(content: bytes, start: int, info: _Info) -> int | None:
    """The number of samples up to the end of the last frame; None if no frame is found."""
    for place in islice(_last_places(content, start), _MOST_TRIES):
        end = _end_of_frame(content[place : place + _LONGEST_HEADER], info)
        if end is not None:
            return end
    return None


def _last_places(content: bytes, start: int) -> Iterator[int]:
    """Yield the offsets of possible frames, last one first."""
    places = [content.rfind(sync, start) for sync in _SYNCS]
    while (place := max(places)) >= 0:
        yield place
        which = places.index(place)
        places[which] = content.rfind(_SYNCS[which], start, place + 1)


def _end_of_frame(header: bytes, info: _Info) -> int | None:
    """The number of samples up to the end of a frame; None if it isn't a frame of this recording."""
    if len(header) < 6:
        return None
    variable, block, rate = header[1] & 1, header[2] >> 4, header[2] & 15
    channels = (header[3] >> 4) + 1 if header[3] >> 4 < 8 else 2
    number, place = _parse_number(header)
    if not block or rate == 15 or channels != info.channels or number is None or header[3] & 1:
        return None
    count, place = _parse_block_size(header, block, place)
    own, place = _parse_rate(header, rate, place)
    if own not in (0, info.rate) or place >= len(header) or _checksum(header[:place]) != header[place]:
        return None
    end = count + (number if variable else number * info.smallest)
    return end if end < 2**36 else None


def _parse_number(header: bytes) -> tuple[int | None, int]:
    """Parse the frame or sample number, coded like UTF-8 of up to 7 bytes, and return the offset after it."""
    first = header[4]
    length = 1 if first < 0x80 else 8 - (first ^ 0xFF).bit_length()
    rest = header[5 : 4 + length]
    if length == 8 or (first >= 0x80 and length < 2) or len(rest) < length - 1:
        return None, 0
    number = first if first < 0x80 else first & (0x7F >> length)
    for byte in rest:
        if byte >> 6 != 2:
            return None, 0
        number = number << 6 | byte & 0x3F
    return number, 4 + length


def _parse_block_size(header: bytes, code: int, place: int) -> tuple[int, int]:
    """Parse the block size in samples, and return the offset after it."""
    if code in (6, 7):
        width = code - 5
        return int.from_bytes(header[place : place + width], "big") + 1, place + width
    return (192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8), place


def _parse_rate(header: bytes, code: int, place: int) -> tuple[int, int]:
    """Parse the rate of a frame, 0 for the file's own, and return the offset after it."""
    if code < 12:
        return _RATES[code], place
    width = 1 if code == 12 else 2
    return int.from_bytes(header[place : place + width], "big") * (1000, 1, 10)[code - 12], place + width


def _checksum(header: bytes) -> int:
    """The CRC-8 of a frame header, with the polynomial x^8 + x^2 + x + 1."""
    value = 0
    for byte in header:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x07) & 0xFF if value & 0x80 else value << 1
    return value
