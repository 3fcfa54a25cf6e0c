"""What AVIF, HEIC and other files in boxes (ISO/IEC 14496-12 and 23008-12) say of their pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .av1 import frame_sizes
from .header import Header

_SIZE = re.compile(rb"ispe.{4}(.{4})(.{4})", re.DOTALL)
_TRACK = re.compile(rb"av01.{24}(.{2})(.{2})", re.DOTALL)  # a sequence's sample entry
_DEEP = re.compile(
    rb"av1C.{2}[\x40-\x7f\xc0-\xff]|hvcC.{17}[\xf9-\xff]", re.DOTALL
)  # more than 8 bits a sample
_EXIF_ITEM = re.compile(rb"(infe[\x02\x03].{3}(?:.{4}|.{6}))Exif", re.DOTALL)
_ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_AVIF = (b"avif", b"avis")
_EITHER = (b"mif1", b"msf1", b"heif")

# Bytes a pixel besides the picture: planes of the decoder, and what it hands over. Measured at 25 megapixels.
_EACH = {"AVIF": 8, "HEIF": 4}
_MORE = 3  # for more than 8 bits a sample, and for transparency


def kind(content: bytes) -> str:
    """ "AVIF", "HEIF", or "" by the brands; where these leave it open, by what codes the pictures."""
    if content[4:8] != b"ftyp":
        return ""
    size = int.from_bytes(content[:4], "big")
    brands = {content[8:12], *(content[place : place + 4] for place in range(16, min(size, 512), 4))}
    if brands.intersection(_AVIF):
        return "AVIF"
    if brands.intersection(_HEIC):
        return "HEIF"
    if not brands.intersection(_EITHER):
        return ""
    return "AVIF" if any(b"av01" in content[at:end] for _, at, end in boxes(content, b"meta")) else "HEIF"


def header(content: bytes) -> Header:
    """The header: as many pixels are decoded as the largest picture in the file has, padding and all.

    EXIF goes where it could keep the picture from being read: it says nothing of which way up that is.
    """
    sizes = [(0, 0)]
    deep = clear = False
    cleaned = content
    for name, start, end in boxes(content, b"meta", b"moov"):
        body = content[start:end]
        for found in (_SIZE if name == b"meta" else _TRACK).finditer(body):
            sizes.append((int.from_bytes(found[1], "big"), int.from_bytes(found[2], "big")))
        sizes += frame_sizes(content, body)
        deep = deep or _DEEP.search(body) is not None
        clear = clear or _ALPHA in body
        if _EXIF_ITEM.search(body):
            cleaned = cleaned[:start] + _EXIF_ITEM.sub(rb"\1free", body) + cleaned[end:]
    coded = max(width * height for width, height in sizes)
    return Header(content=cleaned, coded=coded, each=_EACH[kind(content) or "HEIF"] + _MORE * (deep + clear))


def boxes(content: bytes, *names: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The outermost boxes of these names, and where their bodies begin and end."""
    place = 0
    while place + 8 <= len(content):
        size, name, head = (
            int.from_bytes(content[place : place + 4], "big"),
            content[place + 4 : place + 8],
            8,
        )
        if size == 1:
            size, head = int.from_bytes(content[place + 8 : place + 16], "big"), 16
        end = len(content) if size == 0 else place + size
        if end < place + head:
            return
        if name in names:
            yield name, place + head, min(end, len(content))
        place = end
