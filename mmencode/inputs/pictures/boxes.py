"""Headers of AVIF and HEIC, files made of boxes (ISO/IEC 14496-12 and 23008-12)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .av1 import frame_sizes
from .header import Header

_SIZE = re.compile(rb"ispe.{4}(.{4})(.{4})", re.DOTALL)
_TRACK = re.compile(rb"av01.{24}(.{2})(.{2})", re.DOTALL)  # a sequence's sample entry
# More than 8 bits a sample.
_DEEP = re.compile(rb"av1C.{2}[\x40-\x7f\xc0-\xff]|hvcC.{17}[\xf9-\xff]", re.DOTALL)
_EXIF_ITEM = re.compile(rb"(infe[\x02\x03].{3}(?:.{4}|.{6}))Exif", re.DOTALL)
_ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_AVIF = (b"avif", b"avis")
_EITHER = (b"mif1", b"msf1", b"heif")

# Bytes for each pixel besides the picture: the decoder's planes and its output, measured at 25 megapixels.
_EACH = {"AVIF": 8, "HEIF": 4}
_MORE = 3  # for more than 8 bits a sample, and for transparency


def format_of(content: bytes) -> str:
    """The format of a file by its brands, or by the codec if they allow both: "AVIF", "HEIF", or ""."""
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


def parse_header(content: bytes) -> Header:
    """Parse the header, with `coded` the size of the largest picture in the file, padding included.

    EXIF items are disabled in `content`: a damaged one could keep the picture from being read, and its
    orientation doesn't count in these formats.
    """
    sizes = [(0, 0)]
    deep = clear = False
    cleaned = content
    for name, start, end in boxes(content, b"meta", b"moov"):
        body = content[start:end]
        for match in (_SIZE if name == b"meta" else _TRACK).finditer(body):
            sizes.append((int.from_bytes(match[1], "big"), int.from_bytes(match[2], "big")))
        sizes += frame_sizes(content, body)
        deep = deep or _DEEP.search(body) is not None
        clear = clear or _ALPHA in body
        if _EXIF_ITEM.search(body):
            cleaned = cleaned[:start] + _EXIF_ITEM.sub(rb"\1free", body) + cleaned[end:]
    coded = max(width * height for width, height in sizes)
    return Header(
        content=cleaned, coded=coded, each=_EACH[format_of(content) or "HEIF"] + _MORE * (deep + clear)
    )


def boxes(content: bytes, *names: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the top-level boxes of these names, with the offsets where their bodies begin and end."""
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
