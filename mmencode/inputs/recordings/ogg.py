"""Ogg (RFC 3533): links of a chain, each with one stream of sound among others that are passed over."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from . import flac
from .part import Part, damaged, truncated

MAGIC = b"OggS"
_HEADER = struct.Struct("<4sBBqIIIB")  # magic, version, flags, granule, stream, number, checksum, segments
_FIRST, _LAST = 2, 4  # flags of a page
_CHECKSUM = slice(22, 26)
_MOST_PAGES = 2**20

# How the first packet of a stream begins that libsndfile decodes, and the samples that a packet has at most:
# half of a block of 2^13, 120 ms at 48 kHz, and what FLAC's header can say.
_FLAC = b"\x7fFLAC"
_SOUND = ((b"\x01vorbis", 2**13), (b"OpusHead", 5760), (_FLAC, 2**16))
_BEFORE_FLAC = 9  # bytes of the mapping before a FLAC file begins, which goes on in the packets that follow
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
    """One of the streams of a link."""

    first: bytes  # its first packet, or the start of that
    pages: list[memoryview] = field(default_factory=list)
    packets: int = 0
    open: bool = False  # whether its last packet goes on in a page to come

    def take(self, page: memoryview) -> None:
        """Take a page in."""
        self.pages.append(page)
        lengths = bytes(page[_HEADER.size : _HEADER.size + page[26]])
        self.packets += len(lengths) - lengths.count(255)
        self.open = lengths[-1:] == b"\xff"

    @property
    def most(self) -> int:
        """The samples that it can have at most; 0 if it isn't decoded."""
        each = next((most for start, most in _SOUND if self.first.startswith(start)), 0)
        return self.packets * each


def parts(content: bytes, source: str) -> list[Part]:
    """One part for each link of the chain; empty if none of them has a stream that libsndfile decodes."""
    links = _links(content, source)
    streams = [next((stream for stream in link.values() if stream.most), None) for link in links]
    found = [stream for stream in streams if stream]
    if any(stream.open for stream in found):
        raise truncated("its last page ends within a packet", source)
    return [part for stream in found for part in _parts(stream, source)]


def _parts(stream: _Stream, source: str) -> list[Part]:
    if stream.first.startswith(_FLAC):  # libsndfile reads it as a file of its own only
        bodies = (page[_HEADER.size + page[26] :] for page in stream.pages)
        return flac.parts(b"".join(bodies)[_BEFORE_FLAC:], source)
    return [Part(_closed(stream.pages), most=stream.most)]


def kinds(content: bytes, source: str) -> list[str]:
    """What the streams that aren't decoded hold, in words."""
    firsts = [stream.first for link in _links(content, source) for stream in link.values()]
    return [name for start, name in _OTHER if any(first.startswith(start) for first in firsts)]


def _links(content: bytes, source: str) -> list[dict[int, _Stream]]:
    """The streams of each link by their numbers; a link begins where first pages follow others."""
    links: list[dict[int, _Stream]] = []
    begun = False  # whether the link has pages that aren't the first ones of their streams
    for page in _pages(content, source):
        flags, number = page[5], int.from_bytes(page[14:18], "little")
        if flags & _FIRST:
            if begun or not links:
                links.append({})
                begun = False
            links[-1][number] = _Stream(bytes(page[27 + page[26] : 27 + page[26] + 16]))
        elif not links or number not in links[-1]:
            continue  # its first page is missing, so nobody can decode it
        else:
            begun = True
        links[-1][number].take(page)
    if not links:
        raise damaged("its first page is missing, which says what it holds", source)
    return links


def _pages(content: bytes, source: str) -> list[memoryview]:
    """Page after page, whatever stands between them. Raises InputError for one that isn't there whole."""
    view, pages, place = memoryview(content), [], content.find(MAGIC)
    while place >= 0:
        segments = content[place + 26] if place + _HEADER.size <= len(content) else 0
        body = place + _HEADER.size + segments
        end = body + sum(content[body - segments : body])
        if body > len(content) or end > len(content):
            raise truncated("its last page isn't whole", source)
        pages.append(view[place:end])
        if len(pages) > _MOST_PAGES:
            raise damaged(f"it has more than {_MOST_PAGES} pages", source)
        place = end if content.startswith(MAGIC, end) else content.find(MAGIC, end)
        rest = content[end : end + len(MAGIC)]
        if place < 0 and rest and MAGIC.startswith(rest):
            raise truncated("its last page isn't whole", source)
    return pages


def _closed(pages: list[memoryview]) -> bytes:
    """The pages of a stream, the last one marked as such, which recorders that were stopped leave out."""
    last = bytearray(pages[-1])
    whole = int.from_bytes(last[_CHECKSUM], "little") == _checksum(last)
    if whole and not last[5] & _LAST:
        last[5] |= _LAST
        last[_CHECKSUM] = _checksum(last).to_bytes(4, "little")
    return b"".join([*pages[:-1], last])


def _checksum(page: bytearray) -> int:
    """Ogg's CRC-32, which is zlib's but for the order of bits and what it begins with."""
    cleared = bytes(page[:22]) + bytes(4) + bytes(page[26:])
    mirrored = zlib.crc32(cleared.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
