"""AVIF's true frame sizes, read from its AV1 sequence headers (5.5): its boxes may claim smaller ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

_SEQUENCE = 1  # the type of an open bitstream unit (OBU) with the maximum frame size
_LOCATIONS = re.compile(rb"iloc([\0-\x02]).{3}", re.DOTALL)
_CHUNKS = re.compile(rb"stco.{4}(.{4})(.{4})|co64.{4}(.{4})(.{8})", re.DOTALL)
_MOST_ITEMS, _MOST_TABLES, _MOST_UNITS = 4096, 16, 64  # real pictures have fewer; hostile files may have more


def frame_sizes(content: bytes, body: bytes) -> Iterator[tuple[int, int]]:
    """Yield the width and height of every sequence header in the items and chunks that a box locates."""
    for place in _offsets(body):
        yield from _sizes_at(content, place)


def _offsets(body: bytes) -> Iterator[int]:
    for match in islice(_LOCATIONS.finditer(body), _MOST_TABLES):
        yield from _item_offsets(body, match.end(), match[1][0])
    for match in islice(_CHUNKS.finditer(body), _MOST_TABLES):
        if any(match[1] or match[3]):
            yield int.from_bytes(match[2] or match[4], "big")


def _item_offsets(body: bytes, place: int, version: int) -> Iterator[int]:
    """Yield the file offset of each item's first extent (iloc box, ISO/IEC 14496-12, 8.11.3)."""
    numbers = _MsbFirstBits(body, 8 * place)
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


def _sizes_at(content: bytes, place: int) -> Iterator[tuple[int, int]]:
    """Yield the frame sizes in the OBUs from an offset on, up to the first bytes that are no OBU."""
    for _ in range(_MOST_UNITS):
        if place + 2 >= len(content) or content[place] & 0x81 or not content[place] & 2:
            return
        kind, head = content[place] >> 3 & 15, 2 if content[place] & 4 else 1
        size = shift = 0
        while place + head < len(content) and shift < 56:  # the unit's length in LEB128
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
    bits = _MsbFirstBits(unit, 4)  # after the profile (3 bits) and the still-picture flag
    if bits.take(1):  # a reduced still-picture header
        bits.take(5)
    else:
        _skip_timing(bits)
    across, down = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(across) + 1, bits.take(down) + 1


def _skip_timing(bits: _MsbFirstBits) -> None:
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


class _MsbFirstBits:
    """A reader of unsigned integers from a bit stream, most significant bit first; zeros past the end."""

    def __init__(self, content: bytes, place: int) -> None:
        self._content = content
        self._place = place

    @property
    def ended(self) -> bool:
        """Whether all bits have been read."""
        return self._place >= 8 * len(self._content)

    def skip(self, count: int) -> None:
        """Skip a number of bits."""
        self._place += max(0, count)

    def take(self, count: int) -> int:
        """Read the next `count` bits as an integer."""
        first, self._place = self._place, self._place + count
        piece = self._content[first // 8 : -(-self._place // 8)].ljust(
            -(-self._place // 8) - first // 8, b"\0"
        )
        return int.from_bytes(piece, "big") >> (-self._place % 8) & ((1 << count) - 1)
