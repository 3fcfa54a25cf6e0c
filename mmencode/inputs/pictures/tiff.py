"""Headers of TIFF (TIFF 6.0, BigTIFF): the meaning of its samples, its tiles, and the orientation."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .header import Header, SampleFormat
from .orientation import orientation_of

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_ORIENTATION, _SAMPLES, _ROWS, _PLANAR, _XMP = 274, 277, 278, 284, 700
_TILE_WIDTH, _TILE_LENGTH, _FORMAT = 322, 323, 339
# The tags that a decoder needs; all others are metadata.
_NEEDED = {
    *(_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _ROWS, _PLANAR, _FORMAT),
    *(_TILE_WIDTH, _TILE_LENGTH, 324, 325),  # where the tiles lie, and how long they are
    # Fill order, strips, fax options, predictor, colour map, inks, extra samples (alpha).
    *(266, 273, 279, 292, 293, 317, 320, 332, 338),
    *(347, *range(512, 522), 529, 530, 531, 532),  # JPEG's tables, YCbCr
    50674,  # LERC
}
_SIZES = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 16: 8}  # in bytes, of the integer types
_MOST_VALUES = 16
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _YCBCR = 0, 1, 6
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_FORMATS = {_UNSIGNED: "", _SIGNED: ", signed", _FLOAT: ", floating-point"}
_MEANINGS = {0: "white is zero", 1: "black is zero", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "Lab"}


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of a directory, with its tag, its bytes, and its first values if they are integers."""

    tag: int
    raw: bytes
    values: tuple[int, ...]


def parse_header(content: bytes) -> Header:
    """Parse the header, and reduce the file to its first picture without metadata.

    A directory that can't be read is left for the decoder to refuse.
    """
    order = "<" if content[:2] == b"II" else ">"
    big = 43 in content[2:4]
    start = struct.unpack_from(f"{order}Q" if big else f"{order}L", content, 8 if big else 4)[0]
    entries = _entries(content, start, order, big)
    # Reversed, so that the first of equal tags counts.
    tags = {entry.tag: entry.values for entry in reversed(entries) if entry.values}
    width, height = tags.get(_WIDTH, (0,))[0], tags.get(_LENGTH, (0,))[0]
    fixed, coded = _size_when_decoded(tags, width, height)
    samples = _sample_format(tags)
    return Header(
        content=_reduce(content, start, entries, order, big, samples.inverted),
        size=(width, height),
        coded=coded,
        fixed=fixed,
        orientation=_orientation(content, entries, tags, order, big),
        samples=samples,
        layout=_layout(tags),
    )


def _entries(content: bytes, start: int, order: str, big: bool) -> list[_Entry]:
    count_size, size = (8, 20) if big else (2, 12)
    count = int.from_bytes(content[start : start + count_size], "little" if order == "<" else "big")
    first = start + count_size
    room = max(0, len(content) - first) // size
    return [
        _entry(content, place, order, big)
        for place in range(first, first + min(count, room, 2**16) * size, size)
    ]


def _entry(content: bytes, place: int, order: str, big: bool) -> _Entry:
    tag, kind, count = struct.unpack_from(f"{order}HHQ" if big else f"{order}HHL", content, place)
    field, inline = (place + 12, 8) if big else (place + 8, 4)
    size = _SIZES.get(kind, 0)
    at = field
    if count * size > inline:
        at = struct.unpack_from(f"{order}Q" if big else f"{order}L", content, field)[0]
    letter = {1: "B", 2: "H", 4: "L", 8: "Q"}.get(size, "")
    read = min(count, _MOST_VALUES) if letter and at + min(count, _MOST_VALUES) * size <= len(content) else 0
    values = struct.unpack_from(f"{order}{read}{letter}", content, at) if read else ()
    return _Entry(tag, content[place : field + inline], values)


def _reduce(
    content: bytes, start: int, entries: list[_Entry], order: str, big: bool, inverted: bool
) -> bytes:
    """Rewrite the first directory with the needed tags only, black as zero, and no next picture."""
    needed = [entry for entry in entries if entry.tag in _NEEDED]
    if not needed:
        return content
    raw = b"".join(
        entry.raw if entry.tag != _PHOTOMETRIC or not inverted else _black_is_zero(entry.raw, order, big)
        for entry in needed
    )
    count = struct.pack(f"{order}Q" if big else f"{order}H", len(needed))
    directory = count + raw + bytes(8 if big else 4)
    return b"".join((content[:start], directory, content[start + len(directory) :]))


def _black_is_zero(raw: bytes, order: str, big: bool) -> bytes:
    value = struct.pack(f"{order}HHQ" if big else f"{order}HHL", _PHOTOMETRIC, 3, 1)
    return value + struct.pack(f"{order}H", _BLACK_IS_ZERO) + bytes(len(raw) - len(value) - 2)


def _size_when_decoded(tags: dict[int, tuple[int, ...]], width: int, height: int) -> tuple[int, int]:
    """The decoded size of one strip or tile in bytes, and the number of pixels of all of them."""
    across, down = tags.get(_TILE_WIDTH, (0,))[0], tags.get(_TILE_LENGTH, (0,))[0]
    coded = width * height
    if across and down:
        coded = -(-width // across) * across * -(-height // down) * down
    else:
        across, down = width, min(tags.get(_ROWS, (height,))[0], height)
    bits = max(tags.get(_BITS, (1,)))
    samples = 1 if tags.get(_PLANAR) == (2,) else max(1, tags.get(_SAMPLES, (1,))[0])
    unpacked = 4 if tags.get(_PHOTOMETRIC) == (_YCBCR,) else 0  # libtiff converts to RGBA in a further buffer
    return across * down * (bits * samples // 8 + unpacked), coded


def _sample_format(tags: dict[int, tuple[int, ...]]) -> SampleFormat:
    """The meaning of grey samples of other than eight bits, which Pillow hands over unscaled."""
    bits, kind = tags.get(_BITS, (1,)), tags.get(_FORMAT, (_UNSIGNED,))[0]
    meaning = tags.get(_PHOTOMETRIC, (_BLACK_IS_ZERO,))[0]
    if len(bits) > 1 or meaning > 1 or tags.get(_SAMPLES, (1,))[0] > 1:
        return SampleFormat()
    inverted = meaning == _WHITE_IS_ZERO
    if kind == _FLOAT:
        return SampleFormat(top=1.0, inverted=inverted)
    if kind == _SIGNED:
        dtype = "int8" if bits[0] == 8 else ""
        return SampleFormat(top=2.0 ** (bits[0] - 1) - 1, loose=bits[0] > 8, inverted=inverted, dtype=dtype)
    if bits[0] <= 8:
        return SampleFormat()
    whole = bits[0] == 32
    return SampleFormat(
        top=2.0 ** bits[0] - 1, loose=whole, inverted=inverted, dtype="uint32" if whole else ""
    )


def _orientation(
    content: bytes, entries: list[_Entry], tags: dict[int, tuple[int, ...]], order: str, big: bool
) -> int:
    if tags.get(_ORIENTATION):
        return tags[_ORIENTATION][0] if tags[_ORIENTATION][0] in range(1, 9) else 1
    for entry in entries:
        if entry.tag == _XMP:
            count = int.from_bytes(entry.raw[4 : 12 if big else 8], "little" if order == "<" else "big")
            place = int.from_bytes(entry.raw[12 if big else 8 :], "little" if order == "<" else "big")
            return orientation_of(b"", content[place : place + min(count, len(content))])
    return 1


def _layout(tags: dict[int, tuple[int, ...]]) -> str:
    bits = tags.get(_BITS, (1,))
    count = max(len(bits), tags.get(_SAMPLES, (1,))[0])
    kind = _FORMATS.get(tags.get(_FORMAT, (_UNSIGNED,))[0], ", of a format of its own")
    meaning = tags.get(_PHOTOMETRIC, (_WHITE_IS_ZERO,))[0]
    colours = _MEANINGS.get(meaning, f"colours {meaning}")
    several = f"{count} samples" if count > 1 else "1 sample"
    planes = " in planes" if count > 1 and tags.get(_PLANAR) == (2,) else ""
    packing = tags.get(_COMPRESSION, (1,))[0]
    return f"a TIFF of {several} of {max(bits)} bits{kind}{planes}, {colours}, compression {packing}"
