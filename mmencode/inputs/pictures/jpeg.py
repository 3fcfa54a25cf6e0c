"""Headers of JPEG (ITU T.81): layout, number of scans, and orientation."""

from __future__ import annotations

import re

from .header import Header
from .orientation import orientation_of

_SOS, _EOI, _COMMENT = 0xDA, 0xD9, 0xFE
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)
_HIERARCHICAL = (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF)
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}  # markers that no segment follows
_APPLICATION = range(0xE0, 0xF0)
_NEEDED = (0xE0, 0xEE)  # JFIF and Adobe, which say how colours are coded; others are metadata
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_MOST_MARKERS = 2**18  # at which counting scans stops; no real file has so many
_XMP = b"http://ns.adobe.com/xap/1.0/\0"


def parse_header(content: bytes) -> Header:
    """Parse the header, and drop the metadata; damaged segments are left for the decoder to refuse."""
    kept, frame, process = [content[:2]], b"", 0
    exif = xmp = b""
    place = 2
    while (place := content.find(b"\xff", place)) >= 0 and place + 4 <= len(content):
        marker = content[place + 1]
        if marker in (0x00, 0xFF) or marker in _WITHOUT_LENGTH:  # padding, or a marker out of place
            place += 1 if marker == 0xFF else 2
            continue
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if marker in (_SOS, _EOI) or end < place + 4 or end > len(content):
            break
        body = content[place + 4 : end]
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            exif += body[6:]
        elif marker == 0xE1 and body.startswith(_XMP):
            xmp = body[len(_XMP) :]
        if marker in _FRAMES and not frame:
            frame, process = body, marker
        if marker in _NEEDED or not (marker in _APPLICATION or marker == _COMMENT):
            kept.append(content[place:end])
        place = end
    start = place if place >= 0 else len(content)
    several = process in _PROGRESSIVE or content[start + 4 : start + 5] < frame[5:6]
    return Header(
        content=b"".join((*kept, content[start:])),
        size=(int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")),
        fixed=_coefficient_bytes(frame) if several else 0,
        scans=_count_scans(content, start) if several else 1,
        orientation=orientation_of(exif, xmp),
        layout=_layout(frame, process),
    )


def _count_scans(content: bytes, place: int) -> int:
    """Count the scans of the first picture; further pictures in the file don't count."""
    count = 0
    for _ in range(_MOST_MARKERS):
        match = _MARKER.search(content, place)
        if match is None or content[match.start() + 1] == _EOI:
            break
        marker, place = content[match.start() + 1], match.end()
        count += marker == _SOS
        if marker not in _WITHOUT_LENGTH:
            place += int.from_bytes(content[place : place + 2], "big")
    return max(1, count)


def _coefficient_bytes(frame: bytes) -> int:
    """The memory in bytes of all DCT coefficients, two bytes each, which a decoder keeps between scans."""
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    factors = [(pair >> 4, pair & 15) for pair in frame[7::3]]
    widest, highest = max((x for x, _ in factors), default=1), max((y for _, y in factors), default=1)
    samples = sum(x * y for x, y in factors) / max(1, widest * highest)
    return int(2 * width * height * samples)


def _layout(frame: bytes, process: int) -> str:
    """The name of an unusual layout; "" for one that every decoder reads."""
    if len(frame) < 6:
        return ""
    if frame[0] != 8:
        return f"a JPEG of {frame[0]} bits a sample"
    if process in _HIERARCHICAL:
        return "a hierarchical JPEG"
    if process in _LOSSLESS:
        return "a lossless JPEG"
    if process >= 0xC9:
        return "a JPEG in arithmetic coding"
    return f"a JPEG of {frame[5]} components" if frame[5] not in (1, 3, 4) else ""
