"""Headers of Netpbm, and the conversion of its slow variants to raw samples of one or two bytes.

Pillow reads plain (ASCII) files and unusual sample ranges in Python: a minute for ten megapixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from .header import Header

Array = np.ndarray[Any, Any]

START = re.compile(rb"P[1-6]\s")
_TOKEN = re.compile(rb"(?:\s|#[^\r\n]*)*([^\s#]{1,10})")
_COMMENT = re.compile(rb"#[^\r\n]*[\r\n]?")
_NUMBERS, _BITS = re.compile(rb"[0-9\s]*"), re.compile(rb"[01\s]*")
_SPACE = b" \t\n\r\v\f"
_LONG = re.compile(rb"[0-9]{11}")
_PIECE = 2**22  # bytes of a plain file that are converted at once
_EACH = 12  # bytes for each pixel while samples are converted


def parse_header(content: bytes) -> Header:
    """Parse the header, with an `unpack` for files that Pillow reads slowly; ValueError if it is damaged."""
    kind = content[1] - 48
    numbers, place = [], 2
    for _ in range(2 if kind in (1, 4) else 3):
        match = _TOKEN.match(content, place)
        if match is None or not match[1].isdigit():
            raise ValueError("its header is cut off, or lacks a number")
        numbers.append(int(match[1]))
        place = match.end()
    width, height, top = (*numbers, 1)[:3]
    if not 0 < top < 65536:
        raise ValueError(f"its largest sample value is given as {top}, not 1 to 65535")
    size, fast = (width, height), kind == 4 or (kind > 3 and top in ((255, 65535) if kind == 5 else (255,)))
    unpack = None if fast else partial(_unpack, kind=kind, size=size, top=top, place=place + 1)
    return Header(content=content, size=size, each=0 if fast else _EACH, unpack=unpack)


def _unpack(content: bytes, *, kind: int, size: tuple[int, int], top: int, place: int) -> bytes:
    """Convert to P5 or P6 with samples from 0 to 255, or to 65535 for grey ones of a larger range."""
    bands = 3 if kind in (3, 6) else 1
    count = size[0] * size[1] * bands
    most = 65535 if top > 255 and bands == 1 else 255
    scaled = np.minimum(np.rint(np.arange(2**16) / top * most), most).astype(">u2" if most > 255 else "u1")
    if kind > 3:
        wide = top > 255
        found = np.frombuffer(
            content, ">u2" if wide else "u1", min(count, (len(content) - place) >> wide), place
        )
        samples = [scaled[found]]
    elif kind == 1:
        samples = [255 * (49 - bits) for bits in _parse_pieces(content, place, _BITS, _parse_bits)]
    else:
        samples = [
            scaled[values]
            for values in _parse_pieces(content, place, _NUMBERS, partial(_parse_values, top=top))
        ]
    body = b"".join(piece.tobytes() for piece in samples)[: count * scaled.itemsize]
    if len(body) < count * scaled.itemsize:
        read = len(body) // scaled.itemsize
        raise ValueError(f"only {read} of its {count} samples can be read")
    return b"P%d\n%d %d\n%d\n" % (6 if bands == 3 else 5, *size, most) + body


def _parse_pieces(
    content: bytes, place: int, kind: re.Pattern[bytes], read: Callable[[bytes], Array]
) -> Iterator[Array]:
    """Yield the numbers of a plain file in pieces cut at white space, up to the first non-number."""
    text = _COMMENT.sub(b"", content[place:])
    match = kind.match(text)
    start, last = 0, match.end() if match else 0
    while start < last:
        end = start + _PIECE
        while end < last and not text[end : end + 1].isspace():
            end += 1
        yield read(text[start : min(end, last)])
        start = end


def _parse_bits(text: bytes) -> Array:
    """The character codes of the digits 0 and 1, which needn't be separated by white space."""
    return np.frombuffer(text.translate(None, _SPACE), np.uint8)


def _parse_values(text: bytes, *, top: int) -> Array:
    if _LONG.search(text):
        raise ValueError("it has a number of more than ten digits")
    found = np.fromstring(text, np.int64, sep=" ") if text.strip() else np.zeros(0, np.int64)
    if found.size and found.max() > top:
        raise ValueError(f"it has a sample of {found.max()}, and gives {top} as the largest")
    return found
