"""What a PNG says of itself (W3C, third edition): what its samples mean, and which way up it is."""

from __future__ import annotations

import re
import struct
import zlib

from .header import Header, Samples
from .orientation import orientation_of

_GREY, _COLOUR = 0, 2
_START = 8
_LONGEST_TEXT = 2**20  # bytes of a text, unpacked; the orientation stands in front
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_RAW_PROFILE = b"Raw profile type exif"  # ImageMagick's way before there was a chunk for it
_XMP = b"XML:com.adobe.xmp"
_HEX = re.compile(rb"[0-9A-Fa-f\s]*")


def header(content: bytes) -> Header:
    """The header, and the file without its metadata; a damaged chunk stays for the decoder to refuse."""
    kept = [content[:_START]]
    texts: dict[bytes, bytes] = {}
    depth = kind = 0
    samples, apple, ended = Samples(), False, False
    place = _START
    while not ended and place + 8 <= len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        name = content[place + 4 : place + 8]
        if end > len(content) or not name.isalpha():
            break
        if name == b"IHDR":
            depth, kind = content[place + 16], content[place + 17]
        if name == b"tRNS":
            chunk, samples = _transparency(content[place:end], depth, kind)
            kept.append(chunk)
        elif name == b"eXIf":
            texts[b"exif"] = content[place + 8 : end - 4]
        elif name in _TEXTS:
            _keep_text(texts, name, content[place + 8 : end - 4])
        elif not name[0] & 32:  # a capital: the decoder needs it
            kept.append(content[place:end])
        apple, ended = apple or name == b"CgBI", name == b"IEND"
        place = end
    if not ended:
        kept.append(content[place:])
    exif = texts.get(b"exif") or _raw_profile(texts.get(_RAW_PROFILE, b""))
    return Header(
        content=b"".join(kept),
        each=8 if samples.key is not None else 0,  # decoded twice, for the colours' lower halves
        orientation=orientation_of(exif, texts.get(_XMP, b"")),
        samples=samples,
        layout="a PNG as Apple changes them for its devices (CgBI)" if apple else "",
    )


def _transparency(chunk: bytes, depth: int, kind: int) -> tuple[bytes, Samples]:
    """The chunk as Pillow takes it; or none, and its value, where that is of more bits than Pillow's."""
    body = chunk[8:-4]
    values = struct.unpack(f">{len(body) // 2}H", body[: len(body) // 2 * 2])
    if kind == _GREY and depth in (2, 4) and values:
        return _chunk(b"tRNS", struct.pack(">H", values[0] % 2**depth * 255 // (2**depth - 1))), Samples()
    if kind == _GREY and depth == 16 and values:
        return b"", Samples(transparent=values[0])
    if kind == _COLOUR and depth == 16 and len(values) >= 3:
        return b"", Samples(key=(values[0], values[1], values[2]))
    return chunk, Samples()


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _keep_text(texts: dict[bytes, bytes], name: bytes, body: bytes) -> None:
    """Note a text that can hold the orientation."""
    key, _, text = body.partition(b"\0")
    if key not in (b"exif", _RAW_PROFILE, _XMP):
        return
    packed = name == b"zTXt" or (name == b"iTXt" and text[:1] == b"\1")
    text = text[1:] if name == b"zTXt" else text
    if name == b"iTXt":
        text = text[2:].partition(b"\0")[2].partition(b"\0")[2]  # behind a language and the key in it
    texts[key] = _unpacked(text) if packed else text


def _unpacked(text: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(text, _LONGEST_TEXT)
    except zlib.error:
        return b""


def _raw_profile(text: bytes) -> bytes:
    """The bytes that a profile spells in hexadecimal behind its name and its length; b"" if it doesn't."""
    match = _HEX.match(b"".join(text.split(b"\n")[3:]))
    digits = b"".join(match[0].split()) if match else b""
    return bytes.fromhex(digits[: len(digits) // 2 * 2].decode())
