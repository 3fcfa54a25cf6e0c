"""How large the frames of an AVIF really are (AV1 specification, 5.5): its boxes may say less."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

_SEQUENCE = 1  # the type of the unit that says how large frames may be
_LOCATIONS = re.compile(rb"iloc([\0-\x02]).{3}", re.DOTALL)
_CHUNKS = re.compile(rb"stco.{4}(.{4})(.{4})|co64.{4}(.{4})(.{8})", re.DOTALL)
_MOST_ITEMS, _MOST_TABLES, _MOST_UNITS = 4096, 16, 64  # no picture has more; hostile files may


def frame_sizes(content: bytes, body: bytes) -> Iterator[tuple[int, int]]:
    """Width and height in each sequence header of the items and chunks that a box's body locates."""
    for place in _places(body):
        yield from _sequences(content, place)


def _places(body: bytes) -> Iterator[int]:
    for match in islice(_LOCATIONS.finditer(body), _MOST_TABLES):
        yield from _items(body, match.end(), match[1][0])
    for match in islice(_CHUNKS.finditer(body), _MOST_TABLES):
        if any(match[1] or match[3]):
            yield int.from_bytes(match[2] or match[4], "big")


def _items(body: bytes, place: int, version: int) -> Iterator[int]:
    """Where in the file the first extent of each item begins (ISO/IEC 14496-12, 8.11.3)."""
    numbers = _Reader(body, 8 * place)
    offset, length, base, index = (8 * numbers.take(4) for _ in range(4))
    index = index if version else 0
    for _ in range(min(numbers.take(32 if version == 2 else 16), _MOST_ITEMS)):
        numbers.take(32 if version == 2 else 16)
        method = numbers.take(16) & 15 if version else 0
        numbers.take(16)
        start, extents = numbers.take(base), numbers.take(16)
        numbers.take(index)
        at = numbers.take(offset)
        numbers.skip(length + (extents - 1) * (index + offset + length))
        if numbers.ended:
            return
        if method == 0:
            yield start + at


def _sequences(content: bytes, place: int) -> Iterator[tuple[int, int]]:
    """The sizes in the units from here on, as long as they are units of AV1."""
    for _ in range(_MOST_UNITS):
        if place + 2 >= len(content) or content[place] & 0x81 or not content[place] & 2:
            return
        kind, head = content[place] >> 3 & 15, 2 if content[place] & 4 else 1
        size = shift = 0
        while place + head < len(content) and shift < 56:  # seven bits of the unit's length a byte
            byte = content[place + head]
            size, shift, head = size | (byte & 127) << shift, shift + 7, head + 1
            if byte < 128:
                break
        if kind == _SEQUENCE:
            yield _size(content[place + head : place + head + min(size, 256)])
        if kind == 0:
            return
        place += head + size


def _size(unit: bytes) -> tuple[int, int]:
    bits = _Reader(unit, 4)  # behind the profile, and whether it is a still picture
    if bits.take(1):  # reduced to what those need
        bits.take(5)
    else:
        _skip_timing(bits)
    across, down = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(across) + 1, bits.take(down) + 1


def _skip_timing(bits: _Reader) -> None:
    delay = 0
    if bits.take(1):
        bits.take(64)
        if bits.take(1):
            zeros = 0
            while not bits.ended and not bits.take(1):
                zeros += 1
            bits.take(zeros)
        if bits.take(1):
            delay = bits.take(5) + 1
            bits.take(42)
    shown = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay and bits.take(1):
            bits.take(2 * delay + 1)
        if shown and bits.take(1):
            bits.take(4)


class _Reader:
    """Numbers out of bytes, the highest bits first; zeros behind their end."""

    def __init__(self, content: bytes, place: int) -> None:
        self._content = content
        self._place = place

    @property
    def ended(self) -> bool:
        """Whether nothing is left."""
        return self._place >= 8 * len(self._content)

    def skip(self, count: int) -> None:
        """Pass over so many bits."""
        self._place += max(0, count)

    def take(self, count: int) -> int:
        """The next number, of so many bits."""
        first, self._place = self._place, self._place + count
        piece = self._content[first // 8 : -(-self._place // 8)].ljust(
            -(-self._place // 8) - first // 8, b"\0"
        )
        return int.from_bytes(piece, "big") >> (-self._place % 8) & ((1 << count) - 1)
