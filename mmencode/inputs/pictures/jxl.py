"""Headers of JPEG XL (ISO/IEC 18181-1, 18181-2): the size, which the decoder allocates memory for at once."""

from __future__ import annotations

from .boxes import boxes
from .header import Header

BARE, BOXED = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
_EACH = 12  # bytes for each pixel besides the picture, measured at 25 megapixels
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def parse_header(content: bytes) -> Header:
    """Parse the size out of the codestream, (0, 0) where there is none."""
    stream = _codestream(content)
    if not stream.startswith(BARE):
        return Header(content=content, each=_EACH)
    bits = _LsbFirstBits(stream[2:])
    small = bits.take(1)
    height = bits.side(small)
    ratio = bits.take(3)
    width = bits.side(small) if ratio == 0 else height * _RATIOS[ratio - 1][0] // _RATIOS[ratio - 1][1]
    return Header(content=content, size=(width, height), each=_EACH)


def _codestream(content: bytes) -> bytes:
    """The first bytes of the codestream, bare or in its box."""
    if not content.startswith(BOXED):
        return content[:16]
    for name, start, _ in boxes(content, b"jxlc", b"jxlp"):
        start += 4 if name == b"jxlp" else 0  # after the sequence number of the partial codestream
        return content[start : start + 16]
    return b""


class _LsbFirstBits:
    """A reader of unsigned integers from a bit stream, least significant bit first."""

    def __init__(self, content: bytes) -> None:
        self._bits = int.from_bytes(content, "little")

    def take(self, count: int) -> int:
        """Read the next `count` bits as an integer."""
        found = self._bits & ((1 << count) - 1)
        self._bits >>= count
        return found

    def side(self, small: int) -> int:
        """Read a width or height, in multiples of 8 if `small`, else in a variable number of bits."""
        return 8 * (1 + self.take(5)) if small else 1 + self.take((9, 13, 18, 30)[self.take(2)])
