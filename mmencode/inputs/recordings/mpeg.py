"""MPEG audio (ISO/IEC 11172-3, 13818-3): frames are walked and counted, and only whole ones are decoded.

A file is frames and nothing else; what stands between, before and behind them are tags and damage. libmpg123
takes the length from the size of the first frame, or from a frame that the encoder wrote as an index (Xing's,
with LAME's additions); both may be wrong, and a second file behind the first is not seen at all.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from .part import Part, damaged, truncated

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
_SAME = 0xFFFE0C00  # the bits of a header that all frames of a stream have in common
_LONGEST_FRAME = 3456
_CHAIN = 3  # frames that follow each other, where nothing else tells that they are frames
_MOST_TRIES = 20_000  # places in all of a file that look like a frame, and aren't
_FIRST_WITHIN = 2**16  # bytes before the first frame
_SLACK = 4 * 1152  # samples that an encoder's delay takes
_TURN = 4608  # samples after which the decoder's ring of 16 blocks of 32 is where it was, in whole frames
# An empty tag in front of the first frame: without one, libsndfile looks for a resource fork in the working
# directory (`._` and `.AppleDouble/`) before it takes a file for MPEG.
_TAG = b"ID3\x04\0\0\0\0\0\x20" + bytes(32)
_OWN_TAGS = {b"TAG": 128, b"TAG+": 227}


class _Header(NamedTuple):
    """What the four bytes before a frame say."""

    same: tuple[int, bool]  # version, layer and rate; whether it has one channel
    layer: int
    rate: int
    samples: int
    size: int  # with the header; 0 where a frame's size isn't said (free format)
    side: int  # bytes from the header to where an index may stand


@dataclass(slots=True)
class _Run:
    """Frames of one kind, one behind the other."""

    header: _Header
    index: tuple[int, int] | None = None  # where the encoder's own frame stands, which holds no sound
    start: int = 0
    end: int = 0
    count: int = 0
    smallest: tuple[int, int] = (0, 0)  # where the smallest frame stands, and its size
    promised: int = 0  # frames, by the index

    def take(self, place: int, size: int) -> None:
        """Take the next frame in."""
        if not self.count:
            self.start = place
        if not self.count or size < self.smallest[1]:
            self.smallest = place, size
        self.end = place + size
        self.count += 1


@dataclass(slots=True)
class _Walk:
    """A way through the bytes of a file, frame by frame."""

    content: bytes
    runs: list[_Run] = field(default_factory=list)
    cut: bool = False  # whether the last frame isn't there whole
    free: dict[int, int] = field(default_factory=dict)  # sizes of frames that don't say theirs
    tries: int = 0


def begins(content: bytes) -> bool:
    """Whether frames begin with the first bytes, or a chain of them a little further in."""
    return _first_frame(_Walk(content)) >= 0


def parts(content: bytes, source: str) -> list[Part]:
    """One part for each run of frames; the samples of all of them are the recording's."""
    walk = _walked(content)
    if not walk.runs:
        raise damaged("it has no MPEG frames that follow each other", source)
    _require_whole(walk, source)
    return [_part(content, run) for run in walk.runs if run.count]


def _require_whole(walk: _Walk, source: str) -> None:
    """Raise InputError where the last frame is cut, or an index promised more than there is."""
    count = promised = 0
    for run in walk.runs:
        if run.index:
            if count < 0.98 * promised - 1:
                break
            count, promised = 0, run.promised
        count += run.count
    if count < 0.98 * promised - 1:  # some encoders count the index, or frames that they left out
        raise truncated(f"{count} frames are there, and it says that it has {promised}", source)
    if walk.cut and count != promised:  # where a whole number was promised and is there, the rest is no loss
        raise truncated(
            f"it ends within a frame, behind {sum(run.count for run in walk.runs)} others", source
        )
    if walk.tries >= _MOST_TRIES:
        raise damaged(f"more than {_MOST_TRIES} places in it look like frames, and aren't", source)


def _walked(content: bytes) -> _Walk:
    walk = _Walk(content)
    run: _Run | None = None
    place = _first_frame(walk)
    while 0 <= place < len(content):
        header = _header(content, place)
        size = _size(walk, place, header) if header else 0
        if header and size and (run is not None and header.same == run.header.same):
            index = _index(content, place, header)
        elif header and size and _follow(walk, place, header):
            index, run = _index(content, place, header), None
        else:
            place, run = _beyond(walk, place, run)
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


def _beyond(walk: _Walk, place: int, run: _Run | None) -> tuple[int, _Run | None]:
    """Where to go on from a place where no frame is, and the run that goes on there: none behind damage.

    What a frame refers to in those before it isn't there behind damage, so that decoding begins anew.
    """
    content = walk.content
    if behind := _behind_tag(content, place):
        return behind, run
    if run is not None and len(content) - place < 4 and content[place] == 0xFF:
        walk.cut = True
        return len(content), run
    return _next_frame(walk, place + 1, len(content), run), None


def _behind_tag(content: bytes, place: int) -> int:
    """Where a tag ends that begins there (ID3, APE, Lyrics3); 0 if none does."""
    head = content[place : place + 32]
    if head.startswith(b"ID3"):
        return behind_id3(content, place)
    if head.startswith(b"APETAGEX") and len(head) == 32:
        return place + 32 + int.from_bytes(head[12:16], "little")
    if head.startswith(b"LYRICSBEGIN"):
        found = content.find(b"LYRICS200", place)
        return found + 9 if found >= 0 else 0
    return next((place + size for start, size in reversed(_OWN_TAGS.items()) if head.startswith(start)), 0)


def behind_id3(content: bytes, place: int) -> int:
    """Where the ID3v2 tag ends that begins there (ID3v2.4, section 3.1); 0 if none does."""
    head = content[place : place + 10]
    if len(head) < 10 or not head.startswith(b"ID3") or head[3] == 0xFF or head[4] == 0xFF:
        return 0
    size = functools.reduce(lambda number, byte: number << 7 | byte & 0x7F, head[6:10], 0)
    return place + 10 + size + (10 if head[5] & 0x10 else 0)


def _first_frame(walk: _Walk) -> int:
    """Where the first frame stands; -1 if there is none."""
    header = _header(walk.content, 0)
    if header and _follow(walk, 0, header):
        return 0
    return _next_frame(walk, 1, _FIRST_WITHIN, None)


def _next_frame(walk: _Walk, place: int, end: int, run: _Run | None) -> int:
    """The first place from here on where frames of a run's kind, or of any, follow each other; or -1."""
    content = walk.content
    while (found := _SYNC.search(content, place, end)) and walk.tries < _MOST_TRIES:
        place = found.start()
        header = _header(content, place)
        same = header and (run is None or header.same == run.header.same)
        if header and same and _follow(walk, place, header, few=run is not None):
            return place
        walk.tries += 1
        place += 1
    return -1


def _follow(walk: _Walk, place: int, header: _Header, few: bool = True) -> bool:
    """Whether frames of one kind follow each other from there on; with `few`, one will do if a tag or the end
    stands behind it.
    """
    content, same = walk.content, header.same
    for _ in range(_CHAIN):
        size = _size(walk, place, header)
        place += size
        if few and size and (place == len(content) or _behind_tag(content, place)):
            return True
        found = _header(content, place)
        if not size or found is None or found.same != same:
            return False
        header = found
    return True


def _size(walk: _Walk, place: int, header: _Header) -> int:
    """The length of a frame; that of free format is the way to the next one, once for all; 0 if unknown."""
    if header.size:
        return header.size
    content = walk.content
    word = int.from_bytes(content[place : place + 4], "big")
    if word & _SAME not in walk.free:
        own = content[place : place + 2]
        found = content.find(own, place + 24, place + _LONGEST_FRAME)
        while found >= 0 and (int.from_bytes(content[found : found + 4], "big") ^ word) & (_SAME | 0xF000):
            found = content.find(own, found + 1, place + _LONGEST_FRAME)
        walk.free[word & _SAME] = found - place - (word >> 9 & 1) if found >= 0 else 0
    size = walk.free[word & _SAME]
    return size + (word >> 9 & 1) if size else 0


def _index(content: bytes, place: int, header: _Header) -> int | None:
    """The number of frames that an encoder's own frame tells, 0 if it doesn't; None for a frame of sound."""
    start = place + 4 + header.side
    if header.layer != 3 or content[start : start + 4] not in (b"Xing", b"Info"):
        return None
    if content[place + 6 : start].strip(
        b"\0"
    ):  # libmpg123 takes it for sound then; the first two may be a CRC
        return None
    return int.from_bytes(content[start + 8 : start + 12], "big") if content[start + 7] & 1 else 0


def _header(content: bytes, place: int) -> _Header | None:
    return _parsed(content[place : place + 4])


@functools.lru_cache(4096)
def _parsed(head: bytes) -> _Header | None:
    """None for what is no header."""
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
    return _Header((word & _SAME, mono), layer, hertz, samples, size, side)


def _part(content: bytes, run: _Run) -> Part:
    """A file of a run's frames; libmpg123 learns from its beginning how long it is at least."""
    frames, samples = content[run.start : run.end], run.header.samples
    if run.index and run.promised:
        return Part(_TAG + _true_index(content, run) + frames, slack=_SLACK, chatty=True)
    # Silent frames, none larger than any other: libmpg123 divides the length by that of the first frame, and
    # reads no further than it comes to so. After as many as these its filters stand where they began.
    place, size = run.smallest
    silent = bytearray(size)
    silent[:4] = content[place : place + 4]
    silent[1] |= 1  # without a checksum
    before = _TURN // samples
    content = b"".join([_TAG, silent * before, frames])
    return Part(content, frames=run.count * samples, skipped=_TURN, slack=_SLACK, chatty=True)


def _true_index(content: bytes, run: _Run) -> bytes:
    """The encoder's own frame, brought to the number of frames that there are if it tells of another.

    What encoders fill the last frame up with isn't cut off then, since the end is that of something else.
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
