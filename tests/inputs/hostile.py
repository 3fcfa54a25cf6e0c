"""Small files that would cost much, made in memory; nothing here decodes them."""

from __future__ import annotations

import functools
import io
import re
import struct
import zlib

from PIL import Image, features

AVIF = "avif" in features.modules and features.check("avif")  # older ones warn of what they don't know


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@functools.cache
def packed_zeros(count):
    """As zlib packs them, a mebibyte at a time, each to the same bytes."""
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = pack.compress(bytes(2**20)) + pack.flush(zlib.Z_FULL_FLUSH)
    rest = pack.compress(bytes(count % 2**20)) + pack.flush()
    return b"\x78\xda" + piece * (count >> 20) + rest + struct.pack(">I", count % 65521 << 16 | 1)


def png(width, height, depth=8, kind=2, *chunks, rows=None):
    """A PNG whose header is honest, black unless it has rows."""
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind] * width
    rows = packed_zeros(height * (1 + (bits + 7) // 8)) if rows is None else zlib.compress(rows)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def webp(width, height):
    """A lossless WebP of one colour: its pixels take no bits at all."""
    content = bytearray(encoded(Image.new("RGB", (64, 64), (10, 200, 30)), "WEBP", lossless=True))
    place = content.index(b"VP8L") + 9
    bits = int.from_bytes(content[place : place + 4], "little")
    bits = (bits >> 28 << 28) | (height - 1) << 14 | (width - 1)
    content[place : place + 4] = bits.to_bytes(4, "little")
    return bytes(content)


def webp_canvas(width, height):
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + sides + b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def boxed(brand, width, height):
    """The boxes of an AVIF or HEIC, without pictures in them."""

    def box(name, content):
        return struct.pack(">I", 8 + len(content)) + name + content

    size = box(b"ispe", struct.pack(">III", 0, width, height))
    meta = box(b"meta", bytes(4) + box(b"iprp", box(b"ipco", size)))
    return box(b"ftyp", brand + bytes(4) + brand + b"mif1") + meta + box(b"mdat", bytes(64))


def avif(width, height):
    return encoded(Image.new("RGB", (width, height), (10, 200, 30)), "AVIF", speed=10, quality=40)


def renamed_size(content, width, height):
    """The same boxes with another size in them than their pictures have."""
    return re.sub(
        rb"(ispe.{4}).{8}", lambda found: found[1] + struct.pack(">II", width, height), content, flags=re.S
    )


def tiff(width, height, *entries, order="<", data=b"", big=False):
    """A TIFF of one directory: entries are (tag, type, values); 273, 279, 324 and 325 may be "data"."""
    letters = {1: "B", 3: "H", 4: "L", 6: "b", 16: "Q", 2: "s", 8: "h", 9: "l"}
    known = {256: (4, (width,)), 257: (4, (height,)), 259: (3, (1,)), 262: (3, (1,)), 277: (3, (1,))}
    known |= {tag: (kind, values) for tag, kind, values in entries}
    head, room = (16, 8) if big else (8, 4)
    size = (8 + 20 * len(known) + 8) if big else (2 + 12 * len(known) + 4)
    extra, rows, start = b"", b"", head + size
    for tag, (kind, values) in sorted(known.items()):
        if values == "offset":
            values = (start + 4096,)
        elif values == "length":
            values = (len(data),)
        body = (
            values
            if isinstance(values, bytes)
            else struct.pack(f"{order}{len(values)}{letters[kind]}", *values)
        )
        count = len(values)
        if len(body) > room:
            at, extra = start + len(extra), extra + body
            body = struct.pack(f"{order}{'Q' if big else 'L'}", at)
        rows += struct.pack(f"{order}HH{'Q' if big else 'L'}", tag, kind, count) + body.ljust(room, b"\0")
    magic = struct.pack(f"{order}HHHQ", 43, 8, 0, 16) if big else struct.pack(f"{order}HL", 42, 8)
    count = struct.pack(f"{order}{'Q' if big else 'H'}", len(known))
    whole = (b"II" if order == "<" else b"MM") + magic + count + rows + bytes(room) + extra
    return whole.ljust(start + 4096, b"\0") + data


def tiled_tiff(side):
    """One pixel in a tile of side x side, packed."""
    strips = ((322, 4, (side,)), (323, 4, (side,)), (324, 4, "offset"), (325, 4, "length"))
    three = ((258, 3, (8, 8, 8)), (262, 3, (2,)), (277, 3, (3,)), (259, 3, (8,)))
    return tiff(1, 1, *three, *strips, data=packed_zeros(side * side * 3))


def jpeg_segments(content):
    place = 2
    while place < len(content) and content[place + 1] != 0xD9:
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if content[place + 1] == 0xDA:
            end = re.compile(rb"\xff[^\x00\xd0-\xd7]").search(content, end).start()
        yield content[place + 1], place, end
        place = end


def scanned_jpeg(width, height, scans):
    """A progressive JPEG whose last scan stands there again and again."""
    content = encoded(Image.new("RGB", (width, height)), "JPEG", progressive=True)
    own = [(start, end) for marker, start, end in jpeg_segments(content) if marker == 0xDA]
    start, end = own[-1]
    return content[:-2] + content[start:end] * (scans - len(own)) + b"\xff\xd9"


def jpeg_of(width, height):
    """A JPEG of 8 x 8 whose header says more."""
    content = bytearray(encoded(Image.new("RGB", (8, 8)), "JPEG"))
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def gif(width, height):
    content = bytearray(encoded(Image.new("L", (8, 8)), "GIF"))
    content[6:10] = struct.pack("<HH", width, height)
    return bytes(content)


def gif_with_a_large_frame(side, method):
    """A screen of 8 x 8, and a frame on it that is to be disposed of."""
    content = encoded(Image.new("L", (8, 8)), "GIF")
    place = content.index(b",\0\0\0\0\x08\0\x08\0")
    control = b"!\xf9\4" + bytes((method << 2, 0, 0, 0, 0))
    return content[:place] + control + b",\0\0\0\0" + struct.pack("<HH", side, side) + content[place + 9 :]


def packed_bmp(width, height, *delta):
    """A BMP in run lengths, with jumps over lines."""
    body = bytes((0, 2, *delta)) * 400 + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    start = 14 + 40 + 1024
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + bytes(1024) + body


def jxl(width, height):
    """The first bytes of a JPEG XL."""
    bits = [(0, 1), (3, 2), (height - 1, 30), (0, 3), (3, 2), (width - 1, 30)]
    number = place = 0
    for value, count in bits:
        number |= value << place
        place += count
    return b"\xff\x0a" + number.to_bytes(16, "little")
