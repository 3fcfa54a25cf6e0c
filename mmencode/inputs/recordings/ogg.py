"""Ogg files (RFC 3533) are chains of links, of each of which one audio stream is decoded."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from . import flac
from .segment import Segment, damage_error, truncation_error

MAGIC = b"OggS"
_HEADER = struct.Struct("<4sBBqIIIB")  # magic, version, flags, granule, stream, number, checksum, segments
_FIRST, _LAST = 2, 4  # flags of a page
_CHECKSUM = slice(22, 26)
_MOST_PAGES = 2**20

# The first bytes of the streams that libsndfile decodes, with the most samples that one packet can have: the
# largest block of Vorbis, 120 ms at 48 kHz of Opus, and the largest block of FLAC.
_FLAC = b"\x7fFLAC"
_SOUND = ((b"\x01vorbis", 2**13), (b"OpusHead", 5760), (_FLAC, 2**16))
_BEFORE_FLAC = 9  # bytes of the Ogg mapping's header, after which the packets make up a FLAC file
_OTHER = (
    (b"Speex   ", "Speex"),
    (b"\x80theora", "Theora"),
    (b"fishead\0", "Skeleton"),
    (b"fLaC", "FLAC in an old mapping"),
    (b"PCM     ", "PCM"),
)

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(slots=True)
class _Stream:
    """A logical stream of a link, with its pages."""

    first: bytes  # the first 16 bytes of its first packet
    pages: list[memoryview] = field(default_factory=list)
    packets: int = 0
    open: bool = False  # whether its last packet continues on a further page

    def take(self, page: memoryview) -> None:
        """Append a page, and count the packets that end on it."""
        self.pages.append(page)
        lengths = bytes(page[_HEADER.size : _HEADER.size + page[26]])
        self.packets += len(lengths) - lengths.count(255)
        self.open = lengths[-1:] == b"\xff"

    @property
    def most(self) -> int:
        """The largest number of samples that the stream can have; 0 if its codec isn't decoded."""
        each = next((most for start, most in _SOUND if self.first.startswith(start)), 0)
        return self.packets * each


def split(content: bytes, source: str) -> list[Segment]:
    """Split a file into segments, one for each link that has a stream which libsndfile decodes."""
    links = _links(content, source)
    streams = [next((stream for stream in link.values() if stream.most), None) for link in links]
    found = [stream for stream in streams if stream]
    if any(stream.open for stream in found):
        raise truncation_error("its last page ends within a packet", source)
    return [segment for stream in found for segment in _segments(stream, source)]


def _segments(stream: _Stream, source: str) -> list[Segment]:
    if stream.first.startswith(_FLAC):  # libsndfile reads FLAC in its own container only
        bodies = (page[_HEADER.size + page[26] :] for page in stream.pages)
        return flac.split(b"".join(bodies)[_BEFORE_FLAC:], source)
    return [Segment(_join_pages(stream.pages), most=stream.most)]


def other_codecs(content: bytes, source: str) -> list[str]:
    """The names of the codecs in a file that libsndfile doesn't decode."""
    firsts = [stream.first for link in _links(content, source) for stream in link.values()]
    return [name for start, name in _OTHER if any(first.startswith(start) for first in firsts)]


def _links(content: bytes, source: str) -> list[dict[int, _Stream]]:
    """The streams of each link by serial number; a link begins where first pages follow other pages."""
    links: list[dict[int, _Stream]] = []
    begun = False  # whether the link has pages other than first ones
    for page in _pages(content, source):
        flags, number = page[5], int.from_bytes(page[14:18], "little")
        if flags & _FIRST:
            if begun or not links:
                links.append({})
                begun = False
            links[-1][number] = _Stream(bytes(page[27 + page[26] : 27 + page[26] + 16]))
        elif not links or number not in links[-1]:
            continue  # its first page is missing, so it can't be decoded
        else:
            begun = True
        links[-1][number].take(page)
    if not links:
        raise damage_error("its first page is missing, which names the codec", source)
    return links


def _pages(content: bytes, source: str) -> list[memoryview]:
    """List the pages, skipping other bytes between them; InputError if the last one is incomplete."""
    view, pages, place = memoryview(content), [], content.find(MAGIC)
    while place >= 0:
        lacing = content[place + 26] if place + _HEADER.size <= len(content) else 0
        body = place + _HEADER.size + lacing
        end = body + sum(content[body - lacing : body])
        if body > len(content) or end > len(content):
            raise truncation_error("its last page is incomplete", source)
        pages.append(view[place:end])
        if len(pages) > _MOST_PAGES:
            raise damage_error(f"it has more than {_MOST_PAGES} pages", source)
        place = end if content.startswith(MAGIC, end) else content.find(MAGIC, end)
        rest = content[end : end + len(MAGIC)]
        if place < 0 and rest and MAGIC.startswith(rest):
            raise truncation_error("its last page is incomplete", source)
    return pages


def _join_pages(pages: list[memoryview]) -> bytes:
    """Join the pages of a stream, and set the end flag on the last one, which a stopped recorder doesn't."""
    last = bytearray(pages[-1])
    intact = int.from_bytes(last[_CHECKSUM], "little") == _checksum(last)
    if intact and not last[5] & _LAST:
        last[5] |= _LAST
        last[_CHECKSUM] = _checksum(last).to_bytes(4, "little")
    return b"".join([*pages[:-1], last])


def _checksum(page: bytearray) -> int:
    """The CRC-32 of a page: zlib's polynomial with the other bit order and initial value."""
    cleared = bytes(page[:22]) + bytes(4) + bytes(page[26:])
    mirrored = zlib.crc32(cleared.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
