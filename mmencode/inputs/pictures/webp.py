"""Headers of WebP (RFC 9649): the size of the canvas, which the decoder allocates at once."""

from __future__ import annotations

from .header import Header

_EACH = 12  # bytes for each pixel: two canvases of the decoder, and its output


def parse_header(content: bytes) -> Header:
    """Parse the size of the canvas; the orientation is read from the opened picture later."""
    chunk, body = content[12:16], content[20:30].ljust(10, b"\0")
    width = height = 0
    if chunk == b"VP8X":
        width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
    elif chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8 ":
        width, height = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    return Header(content=content, size=(width, height), each=_EACH)
