"""Orientation of a picture by its EXIF or XMP; unreadable metadata counts as upright."""

from __future__ import annotations

import re

from PIL import Image

ORIENTATION_TAG = 0x0112  # of EXIF and TIFF
_FORMATS = {1: (1, False), 3: (2, False), 4: (4, False), 6: (1, True), 8: (2, True), 9: (4, True)}
_ASCII = 2
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_XMP_BYTES = 2**20  # of an XMP packet that are searched

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Rotate or flip an image by its orientation, 1 to 8; other values leave it as it is."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def orientation_of(exif: bytes, xmp: bytes = b"") -> int:
    """The orientation, 1 to 8, by an EXIF block, else by an XMP packet; 1 where neither tells it."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    found = _orientation_of_exif(exif)
    if found is None:
        match = _XMP.search(xmp, 0, _XMP_BYTES)
        found = int(match[1]) if match else 1
    return found if found in _TURNS else 1


def _orientation_of_exif(exif: bytes) -> int | None:
    """The first value of the orientation tag; None if it is missing or unreadable."""
    order = {b"II": "little", b"MM": "big"}.get(exif[:2])
    if order is None:
        return None

    def number(place: int, size: int, signed: bool = False) -> int:
        return int.from_bytes(
            exif[place : place + size], "little" if order == "little" else "big", signed=signed
        )

    start = number(4, 4)
    for place in range(start + 2, min(start + 2 + 12 * number(start, 2), len(exif) - 11), 12):
        if number(place, 2) == ORIENTATION_TAG:
            kind, count = number(place + 2, 2), number(place + 4, 4)
            size, signed = _FORMATS.get(kind, (1, False))
            value = place + 8 if count * size <= 4 else number(place + 8, 4)
            if kind == _ASCII:
                return int(exif[value : value + 1]) if exif[value : value + 1].isdigit() else None
            return number(value, size, signed) if kind in _FORMATS and count else None
    return None
