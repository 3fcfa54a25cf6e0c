"""Headers of PNG (W3C, third edition): the meaning of its samples, and the orientation."""

from __future__ import annotations

import re
import struct
import zlib

from .header import Header, SampleFormat
from .orientation import orientation_of

_GREY, _COLOUR = 0, 2
_START = 8
_LONGEST_TEXT = 2**20  # bytes of a decompressed text; the orientation is near its start
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_RAW_PROFILE = b"Raw profile type exif"  # where ImageMagick put EXIF before there was a chunk for it
_XMP = b"XML:com.adobe.xmp"
_HEX = re.compile(rb"[0-9A-Fa-f\s]*")


def parse_header(content: bytes) -> Header:
    """Parse the header, and drop the metadata; a damaged chunk is left for the decoder to refuse."""
    kept = [content[:_START]]
    texts: dict[bytes, bytes] = {}
    depth = kind = 0
    samples, apple, ended = SampleFormat(), False, False
    place = _START
    while not ended and place + 8 <= len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        name = content[place + 4 : place + 8]
        if end > len(content) or not name.isalpha():
            break
        if name == b"IHDR":
            depth, kind = content[place + 16], content[place + 17]
        if name == b"tRNS":
            chunk, samples = _convert_transparency(content[place:end], depth, kind)
            kept.append(chunk)
        elif name == b"eXIf":
            texts[b"exif"] = content[place + 8 : end - 4]
        elif name in _TEXTS:
            _keep_text(texts, name, content[place + 8 : end - 4])
        elif not name[0] & 32:  # an upper-case first letter marks a critical chunk
            kept.append(content[place:end])
        apple, ended = apple or name == b"CgBI", name == b"IEND"
        place = end
    if not ended:
        kept.append(content[place:])
    exif = texts.get(b"exif") or _decode_raw_profile(texts.get(_RAW_PROFILE, b""))
    return Header(
        content=b"".join(kept),
        each=8 if samples.key is not None else 0,  # decoded twice, for the colours' lower bytes
        orientation=orientation_of(exif, texts.get(_XMP, b"")),
        samples=samples,
        layout="a PNG as Apple changes them for its devices (CgBI)" if apple else "",
    )


def _convert_transparency(chunk: bytes, depth: int, kind: int) -> tuple[bytes, SampleFormat]:
    """Convert a tRNS chunk to what Pillow understands, or to a SampleFormat if Pillow lacks the bits."""
    body = chunk[8:-4]
    values = struct.unpack(f">{len(body) // 2}H", body[: len(body) // 2 * 2])
    if kind == _GREY and depth in (2, 4) and values:
        return _chunk(
            b"tRNS", struct.pack(">H", values[0] % 2**depth * 255 // (2**depth - 1))
        ), SampleFormat()
    if kind == _GREY and depth == 16 and values:
        return b"", SampleFormat(transparent=values[0])
    if kind == _COLOUR and depth == 16 and len(values) >= 3:
        return b"", SampleFormat(key=(values[0], values[1], values[2]))
    return chunk, SampleFormat()


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _keep_text(texts: dict[bytes, bytes], name: bytes, body: bytes) -> None:
    """Store a text chunk if its keyword is one that can hold the orientation."""
    key, _, text = body.partition(b"\0")
    if key not in (b"exif", _RAW_PROFILE, _XMP):
        return
    packed = name == b"zTXt" or (name == b"iTXt" and text[:1] == b"\1")
    text = text[1:] if name == b"zTXt" else text
    if name == b"iTXt":
        text = text[2:].partition(b"\0")[2].partition(b"\0")[2]  # after language and translated keyword
    texts[key] = _decompress(text) if packed else text


def _decompress(text: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(text, _LONGEST_TEXT)
    except zlib.error:
        return b""


def _decode_raw_profile(text: bytes) -> bytes:
    """Decode a raw profile: hexadecimal digits after lines with a name and a length; b"" without them."""
    match = _HEX.match(b"".join(text.split(b"\n")[3:]))
    digits = b"".join(match[0].split()) if match else b""
    return bytes.fromhex(digits[: len(digits) // 2 * 2].decode())
