"""Chunked sound files (WAV, RF64, BW64, Wave64, AIFF, CAF, AU) are rewritten with true lengths.

Recorders that write to a stream put a placeholder where the length belongs: 0, -1, or 2^31 less a header.
With a placeholder the samples are taken to go on to the end. Any other length beyond the end means that the
file is truncated.

libsndfile gets a new file with the chunks that describe the samples, and the samples. All other chunks are
dropped, whatever they are and wherever they stand.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from . import mpeg
from .segment import Segment, damage_error, truncation_error

_MOST_CHUNKS = 10_000
_NEAR = 2**16  # below a placeholder, from which some programs subtract the header's length
_MPEG_IN_WAV = (0x50, 0x55)  # layers 1 and 2; layer 3
_RIFF_END = 2**32 - 2**16  # bytes of samples that fit into a RIFF file's 32-bit lengths

RIFF, RIFX, RF64, BW64 = b"RIFF", b"RIFX", b"RF64", b"BW64"
_W64_IDS = {
    bytes.fromhex("666d7420f3acd3118cd100c04f8edb8a"): b"fmt ",
    bytes.fromhex("64617461f3acd3118cd100c04f8edb8a"): b"data",
}

# A packet table: a header, and integers of up to five bytes, the last of which has no upper bit.
_PACKETS = re.compile(rb".{24}([\x80-\xff]{0,4}[\0-\x7f])*", re.DOTALL)
_CAF_CHUNKS = (b"desc", b"kuki", b"pakt", b"data")

_Buffer = bytes | memoryview


class _Chunk(NamedTuple):
    name: bytes
    start: int  # of its body
    size: int  # of its body, as the file claims


def is_wav(content: bytes, start: int = 0) -> bool:
    """Whether a WAV, RF64 or BW64 file begins at an offset."""
    magic, kind = content[start : start + 4], content[start + 8 : start + 12]
    return magic in (RIFF, RIFX, RF64, BW64) and kind == b"WAVE"


def wav(content: bytes, source: str) -> list[Segment]:
    """Split WAV, RF64 and BW64 into segments, one for each of the files that are concatenated."""
    segments: list[Segment] = []
    start = 0
    while is_wav(content, start):
        found, start = _wav(content, start, source)
        segments += found
    return segments


def _wav(content: bytes, start: int, source: str) -> tuple[list[Segment], int]:
    """The segments of the WAV file that begins at `start`, and the offset where it ends."""
    order = ">" if content[start : start + 4] == RIFX else "<"
    found: dict[bytes, bytes] = {}
    data = None
    end = len(content)
    for chunk in _chunks(content, start + 12, order + "4sI", source):
        if is_wav(content, chunk.start - 8):
            end = chunk.start - 8
            break
        if chunk.name != b"data":
            found.setdefault(chunk.name, content[chunk.start : chunk.start + min(chunk.size, 2**16)])
        elif data is None:
            size = chunk.size
            if size == 2**32 - 1 and len(found.get(b"ds64", b"")) >= 16:
                size = int.from_bytes(found[b"ds64"][8:16], "little")
            data = _body(content, chunk._replace(size=size), order + "4sI", source)
    if data is None or b"fmt " not in found:
        missing = "data" if data is None else "fmt "
        raise damage_error(f"it has no {missing!r} chunk, as a WAV file must", source)
    return _wav_segment(found, data, order, source), end


def w64(content: bytes, source: str) -> list[Segment]:
    """Rewrite Wave64, whose chunk names are GUIDs, and whose lengths include the chunk's header."""
    found: dict[bytes, bytes] = {}
    place, number = 40, 0
    while place + 24 <= len(content) and number < _MOST_CHUNKS:
        name = _W64_IDS.get(content[place : place + 16], b"")
        claimed = int.from_bytes(content[place + 16 : place + 24], "little")
        chunk = _Chunk(name, place + 24, max(0, claimed - 24) if claimed else 0)
        if name == b"data" and b"fmt " in found:
            return _wav_segment(found, _body(content, chunk, "", source), "<", source)
        found.setdefault(name, content[chunk.start : chunk.start + min(chunk.size, 2**16)])
        place, number = place + 24 + (chunk.size + 7) // 8 * 8, number + 1
    raise damage_error("it has no 'fmt ' and 'data' chunks, as a Wave64 file must", source)


def _wav_segment(found: dict[bytes, bytes], data: memoryview, order: str, source: str) -> list[Segment]:
    form = found[b"fmt "]
    if len(form) >= 2 and int.from_bytes(form[:2], "little" if order == "<" else "big") in _MPEG_IN_WAV:
        return mpeg.split(bytes(data), source)
    if len(data) > _RIFF_END:
        raise damage_error(f"{len(data)} bytes of samples are more than can be read at once", source)
    magic = RIFF if order == "<" else RIFX
    return [_build(magic, b"WAVE", order, ((b"fmt ", form), (b"data", data)))]


def aiff(content: bytes, source: str) -> list[Segment]:
    """Rewrite AIFF and AIFF-C, whose samples follow two integers (offset, block size) in their chunk."""
    common = data = None
    for chunk in _chunks(content, 12, ">4sI", source):
        if chunk.name == b"COMM" and common is None:
            common = content[chunk.start : chunk.start + min(chunk.size, 2**10)]
        elif chunk.name == b"SSND" and data is None:
            data = _body(content, chunk, ">4sI", source, before=8)
    if common is None or data is None:
        missing = "COMM" if common is None else "SSND"
        raise damage_error(f"it has no {missing!r} chunk, as an AIFF file must", source)
    if (offset := int.from_bytes(data[:4], "big")) > max(0, len(data) - 8):
        raise damage_error(f"its samples begin {offset} bytes into a chunk of {len(data)}", source)
    return [_build(b"FORM", content[8:12], ">", ((b"COMM", common), (b"SSND", data)))]


def caf(content: bytes, source: str) -> list[Segment]:
    """Rewrite Apple's Core Audio Format, whose last chunk may be samples of unknown length."""
    found: dict[bytes, memoryview] = {}
    for chunk in _chunks(content, 8, ">4sQ", source, even=False):
        if chunk.name == b"data" and chunk.name not in found:
            found[chunk.name] = _body(content, chunk, ">4sQ", source, before=4)
        elif chunk.name in _CAF_CHUNKS:
            found.setdefault(chunk.name, memoryview(content)[chunk.start : chunk.start + chunk.size])
    if b"data" not in found:
        raise damage_error("it has no 'data' chunk, as a CAF file must", source)
    # libsndfile would print about a damaged packet table.
    if b"pakt" in found and not _PACKETS.fullmatch(found[b"pakt"]):
        raise damage_error("its packet table is damaged", source)
    pieces: list[_Buffer] = [content[:8]]
    for name in _CAF_CHUNKS:
        if name in found:
            pieces += [name, struct.pack(">Q", len(found[name])), found[name]]
    return [Segment(b"".join(pieces))]


def au(content: bytes, source: str) -> list[Segment]:
    """Rewrite AU, which is a header and samples; with the magic `dns.` it is little-endian."""
    order = ">" if content.startswith(b".snd") else "<"
    if len(content) < 24:
        raise truncation_error(f"an AU file's header has 24 bytes, and the file only {len(content)}", source)
    start, claimed = struct.unpack_from(order + "II", content, 4)
    size = len(_body(content, _Chunk(b"", start, claimed), "", source))
    return [Segment(content[:8] + struct.pack(order + "I", size) + content[12 : start + size])]


def _build(magic: bytes, kind: bytes, order: str, chunks: tuple[tuple[bytes, _Buffer], ...]) -> Segment:
    """Build a RIFF or FORM file of these chunks."""
    pieces: list[_Buffer] = [kind]
    for name, body in chunks:
        pieces += [name, struct.pack(order + "I", len(body)), body, bytes(len(body) % 2)]
    length = sum(len(piece) for piece in pieces)
    return Segment(b"".join([magic, struct.pack(order + "I", length), *pieces]))


def _chunks(content: bytes, place: int, header: str, source: str, even: bool = True) -> Iterator[_Chunk]:
    """Yield the chunks up to the end of the file, or to bytes that can't be a chunk."""
    length = struct.calcsize(header)
    for _ in range(_MOST_CHUNKS):
        if place + length > len(content) or not content[place : place + 4].isascii():
            return
        name, size = struct.unpack_from(header, content, place)
        yield _Chunk(name, place + length, size)
        place += length + size + (size % 2 if even else 0)
    raise damage_error(f"it has more than {_MOST_CHUNKS} chunks", source)


def _body(content: bytes, chunk: _Chunk, header: str, source: str, before: int = 0) -> memoryview:
    """The body of the chunk with the samples, of which the first `before` bytes aren't samples."""
    rest = memoryview(content)[chunk.start :]
    if _is_unknown(chunk.size, before) and not (header and _only_chunks(content, chunk, header)):
        return rest
    if chunk.size > len(rest) + 1:  # some programs count the padding byte
        raise truncation_error(
            f"it has {len(rest)} bytes of samples, and its header claims {chunk.size}", source
        )
    return rest[: chunk.size]


def _is_unknown(size: int, before: int) -> bool:
    """Whether a length is a placeholder, as programs write that don't know the true one."""
    marks = (2**31, 2**32, 2**63, 2**64)
    return size <= before or any(mark - _NEAR <= size < mark + _NEAR // 16 for mark in marks)


def _only_chunks(content: bytes, chunk: _Chunk, header: str) -> bool:
    """Whether only further chunks follow a sample chunk of length 0, so that it is truly empty."""
    place, length = chunk.start + chunk.size, struct.calcsize(header)
    for _ in range(_MOST_CHUNKS):
        if place + length > len(content):
            break
        name, size = struct.unpack_from(header, content, place)
        if not (name.isascii() and name.decode().isprintable()):
            return False
        place += length + size + size % 2
    return place == len(content)
