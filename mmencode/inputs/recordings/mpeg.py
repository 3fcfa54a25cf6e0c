"""MPEG audio, MP3 for one (ISO/IEC 11172-3, 13818-3): frames are counted, and only whole ones decoded.

A file is a sequence of frames; anything between, before and after them is a tag or damage. libmpg123 takes
the length from the size of the first frame, or from an index frame that the encoder wrote (Xing's, with
LAME's additions). Both may be wrong, and it doesn't notice a second file after the first.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from .segment import Segment, damage_error, truncation_error

_KILOBITS = {  # by version 1 or later, and layer
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version's bits
_SYNC = re.compile(rb"\xff[\xe2-\xe7\xf2-\xff][^\xf0-\xff]")
_COMMON_BITS = 0xFFFE0C00  # the bits of a header that all frames of a stream have in common
_LONGEST_FRAME = 3456
_CHAIN = 3  # consecutive frames that make a sync pattern credible
_MOST_TRIES = 20_000  # false sync patterns in a file
_FIRST_WITHIN = 2**16  # bytes of a file within which its first frame begins
_SLACK = 4 * 1152  # samples of encoder delay and padding
_PERIOD = 4608  # samples: whole frames, and whole rounds of the decoder's ring buffer (16 blocks of 32)
# An empty ID3 tag before the first frame. Without one, libsndfile looks for a resource fork in the working
# directory (`._` and `.AppleDouble/`) before it recognises a file as MPEG.
_TAG = b"ID3\x04\0\0\0\0\0\x20" + bytes(32)
_OWN_TAGS = {b"TAG": 128, b"TAG+": 227}


class _FrameHeader(NamedTuple):
    """The fields of a frame's four-byte header."""

    stream: tuple[int, bool]  # version, layer, rate; whether mono: the same in all frames
    layer: int
    rate: int
    samples: int
    size: int  # in bytes, header included; 0 if the header doesn't tell it (free format)
    side: int  # bytes of side information, after which an index may begin


@dataclass(slots=True)
class _Run:
    """Consecutive frames of one stream."""

    header: _FrameHeader
    index: tuple[int, int] | None = None  # offset and size of the index frame, which holds no sound
    start: int = 0
    end: int = 0
    count: int = 0
    smallest: tuple[int, int] = (0, 0)  # offset and size of the smallest frame
    promised: int = 0  # frames that the index claims

    def take(self, place: int, size: int) -> None:
        """Append the next frame."""
        if not self.count:
            self.start = place
        if not self.count or size < self.smallest[1]:
            self.smallest = place, size
        self.end = place + size
        self.count += 1


@dataclass(slots=True)
class _Walk:
    """The state of a pass over a file, frame by frame."""

    content: bytes
    runs: list[_Run] = field(default_factory=list)
    cut: bool = False  # whether the last frame is incomplete
    free: dict[int, int] = field(default_factory=dict)  # sizes of free-format frames, by their common bits
    tries: int = 0


def begins(content: bytes) -> bool:
    """Whether a file begins with MPEG frames, or has a chain of them within its first 64 KiB."""
    return _first_frame(_Walk(content)) >= 0


def split(content: bytes, source: str) -> list[Segment]:
    """Split a file into segments, one for each run of frames; together they are the recording."""
    walk = _walk_frames(content)
    if not walk.runs:
        raise damage_error("it has no consecutive MPEG frames", source)
    _require_whole(walk, source)
    return [_segment(content, run) for run in walk.runs if run.count]


def _require_whole(walk: _Walk, source: str) -> None:
    """Raise InputError if the last frame is incomplete, or there are fewer frames than an index claims."""
    count = promised = 0
    for run in walk.runs:
        if run.index:
            if count < 0.98 * promised - 1:
                break
            count, promised = 0, run.promised
        count += run.count
    if count < 0.98 * promised - 1:  # some encoders count the index frame, or dropped frames
        raise truncation_error(f"it has {count} frames, and its index claims {promised}", source)
    if walk.cut and count != promised:  # if all the claimed frames are there, nothing is lost
        raise truncation_error(
            f"it ends within a frame, after {sum(run.count for run in walk.runs)} whole ones", source
        )
    if walk.tries >= _MOST_TRIES:
        raise damage_error(f"it has more than {_MOST_TRIES} false starts of frames", source)


def _walk_frames(content: bytes) -> _Walk:
    walk = _Walk(content)
    run: _Run | None = None
    place = _first_frame(walk)
    while 0 <= place < len(content):
        header = _header(content, place)
        size = _size(walk, place, header) if header else 0
        if header and size and (run is not None and header.stream == run.header.stream):
            index = _index_count(content, place, header)
        elif header and size and _frames_follow(walk, place, header):
            index, run = _index_count(content, place, header), None
        else:
            place, run = _skip(walk, place, run)
            continue
        if place + size > len(content):
            walk.cut = True
            break
        if run is None or index is not None:
            run = _Run(header)
            walk.runs.append(run)
        if index is None:
            run.take(place, size)
        else:
            run.index, run.promised = (place, size), index
        place += size
    return walk


def _skip(walk: _Walk, place: int, run: _Run | None) -> tuple[int, _Run | None]:
    """Skip a tag or damage: return the offset of the next frame, and the run that it continues, if any.

    A frame may refer to data in the frames before it (the bit reservoir). After damage those are missing, so
    a new run begins, which is decoded afresh.
    """
    content = walk.content
    if behind := _tag_end(content, place):
        return behind, run
    if run is not None and len(content) - place < 4 and content[place] == 0xFF:
        walk.cut = True
        return len(content), run
    return _next_frame(walk, place + 1, len(content), run), None


def _tag_end(content: bytes, place: int) -> int:
    """The end of the tag (ID3, APE, Lyrics3) that begins at an offset; 0 if none does."""
    head = content[place : place + 32]
    if head.startswith(b"ID3"):
        return id3_end(content, place)
    if head.startswith(b"APETAGEX") and len(head) == 32:
        return place + 32 + int.from_bytes(head[12:16], "little")
    if head.startswith(b"LYRICSBEGIN"):
        found = content.find(b"LYRICS200", place)
        return found + 9 if found >= 0 else 0
    return next((place + size for start, size in reversed(_OWN_TAGS.items()) if head.startswith(start)), 0)


def id3_end(content: bytes, place: int) -> int:
    """The end of the ID3v2 tag that begins at an offset (ID3v2.4, section 3.1); 0 if none does."""
    head = content[place : place + 10]
    if len(head) < 10 or not head.startswith(b"ID3") or head[3] == 0xFF or head[4] == 0xFF:
        return 0
    size = functools.reduce(lambda number, byte: number << 7 | byte & 0x7F, head[6:10], 0)
    return place + 10 + size + (10 if head[5] & 0x10 else 0)


def _first_frame(walk: _Walk) -> int:
    """The offset of the first frame; -1 if there is none."""
    header = _header(walk.content, 0)
    if header and _frames_follow(walk, 0, header):
        return 0
    return _next_frame(walk, 1, _FIRST_WITHIN, None)


def _next_frame(walk: _Walk, place: int, end: int, run: _Run | None) -> int:
    """The next offset where consecutive frames begin, of the stream of `run` if one is given; else -1."""
    content = walk.content
    while (found := _SYNC.search(content, place, end)) and walk.tries < _MOST_TRIES:
        place = found.start()
        header = _header(content, place)
        matches = header and (run is None or header.stream == run.header.stream)
        if header and matches and _frames_follow(walk, place, header, few=run is not None):
            return place
        walk.tries += 1
        place += 1
    return -1


def _frames_follow(walk: _Walk, place: int, header: _FrameHeader, few: bool = True) -> bool:
    """Whether consecutive frames of one stream begin at an offset.

    With `few`, a single frame is enough if a tag or the end of the file follows it.
    """
    content, stream = walk.content, header.stream
    for _ in range(_CHAIN):
        size = _size(walk, place, header)
        place += size
        if few and size and (place == len(content) or _tag_end(content, place)):
            return True
        found = _header(content, place)
        if not size or found is None or found.stream != stream:
            return False
        header = found
    return True


def _size(walk: _Walk, place: int, header: _FrameHeader) -> int:
    """The size of a frame, 0 if unknown; that of free-format frames is measured once, to the next header."""
    if header.size:
        return header.size
    content = walk.content
    word = int.from_bytes(content[place : place + 4], "big")
    if word & _COMMON_BITS not in walk.free:
        own = content[place : place + 2]
        found = content.find(own, place + 24, place + _LONGEST_FRAME)
        while found >= 0 and (int.from_bytes(content[found : found + 4], "big") ^ word) & (
            _COMMON_BITS | 0xF000
        ):
            found = content.find(own, found + 1, place + _LONGEST_FRAME)
        walk.free[word & _COMMON_BITS] = found - place - (word >> 9 & 1) if found >= 0 else 0
    size = walk.free[word & _COMMON_BITS]
    return size + (word >> 9 & 1) if size else 0


def _index_count(content: bytes, place: int, header: _FrameHeader) -> int | None:
    """The number of frames that an index frame claims, 0 if it claims none; None for a frame of sound."""
    start = place + 4 + header.side
    if header.layer != 3 or content[start : start + 4] not in (b"Xing", b"Info"):
        return None
    # Where anything but zeros precedes it, libmpg123 takes the frame for sound. The first two may be a CRC.
    if content[place + 6 : start].strip(b"\0"):
        return None
    return int.from_bytes(content[start + 8 : start + 12], "big") if content[start + 7] & 1 else 0


def _header(content: bytes, place: int) -> _FrameHeader | None:
    return _parse_header(content[place : place + 4])


@functools.lru_cache(4096)
def _parse_header(head: bytes) -> _FrameHeader | None:
    """Parse a frame header; None for four bytes that aren't one."""
    if len(head) < 4:
        return None
    word = int.from_bytes(head, "big")
    version, layer, rate = word >> 19 & 3, 4 - (word >> 17 & 3), word >> 10 & 3
    bits, padding, mono = word >> 12 & 15, word >> 9 & 1, word >> 6 & 3 == 3
    if word >> 21 != 0x7FF or version == 1 or layer == 4 or rate == 3 or bits == 15:
        return None
    kilobits = _KILOBITS[version == 3, layer][bits]
    hertz = _RATES[version][rate]
    samples = {1: 384, 2: 1152, 3: 1152 if version == 3 else 576}[layer]
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    slot = 4 if layer == 1 else 1
    size = (samples // 8 // slot * kilobits * 1000 // hertz + padding) * slot if kilobits else 0
    if layer == 3 and size and size < 4 + side:
        return None
    return _FrameHeader((word & _COMMON_BITS, mono), layer, hertz, samples, size, side)


def _segment(content: bytes, run: _Run) -> Segment:
    """Build a file of a run's frames whose beginning doesn't make libmpg123 stop too early."""
    frames, samples = content[run.start : run.end], run.header.samples
    if run.index and run.promised:
        return Segment(_TAG + _correct_index(content, run) + frames, slack=_SLACK, chatty=True)
    # libmpg123 divides the length of the file by the size of its first frame, and reads no more frames than
    # that. So silent frames of the smallest size go first. After _PERIOD samples of them the state of the
    # decoder's filters is the initial one, so that they don't change the sound.
    place, size = run.smallest
    silent = bytearray(size)
    silent[:4] = content[place : place + 4]
    silent[1] |= 1  # the protection bit: no CRC follows
    before = _PERIOD // samples
    content = b"".join([_TAG, silent * before, frames])
    return Segment(content, frames=run.count * samples, skipped=_PERIOD, slack=_SLACK, chatty=True)


def _correct_index(content: bytes, run: _Run) -> bytes:
    """The index frame, with its number of frames corrected if it is wrong.

    The padding that it tells a decoder to cut off at the end is then set to 0, since the last frame isn't the
    encoder's last.
    """
    place, size = run.index or (0, 0)
    index = bytearray(content[place : place + size])
    if run.promised != run.count:
        start = 4 + run.header.side
        index[start + 8 : start + 12] = run.count.to_bytes(4, "big")
        flags = index[start + 7]
        padding = start + 8 + 4 + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1) + 22
        if padding + 2 <= size:
            index[padding] &= 0xF0
            index[padding + 1] = 0
    return bytes(index)
