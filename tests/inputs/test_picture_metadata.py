"""What stands beside a picture's pixels keeps none from being read, and turns those that it can turn."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import hostile
import numpy as np
import pytest
from hostile import chunk, encoded
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from mmencode.errors import InputError
from mmencode.inputs import Limits
from mmencode.inputs.image import read
from mmencode.inputs.pictures import orientation_of

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
PICTURE = Image.fromarray(PIXELS)
TURNED = np.rot90(PIXELS, -1)  # orientation 6
PLAIN = encoded(PICTURE, "PNG")
AVIF = pytest.param("AVIF", marks=pytest.mark.skipif(not hostile.AVIF, reason="this Pillow reads no AVIF"))


def pixels(content, **limits):
    return np.asarray(read(content, Limits(**limits)))


def exif(*entries, order="<", count=None):
    """A block of EXIF: entries are (tag, type, count, four bytes or an int)."""
    rows = b""
    for tag, kind, number, value in sorted(entries, key=lambda entry: entry[0]):
        body = value if isinstance(value, bytes) else struct.pack(f"{order}H", value)
        rows += struct.pack(f"{order}HHL", tag, kind, number) + body.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HL", 42, 8)
    return head + struct.pack(f"{order}H", len(entries) if count is None else count) + rows + bytes(4)


UPRIGHT, RIGHT = (0x0112, 3, 1, 1), (0x0112, 3, 1, 6)
FAR = struct.pack("<L", 2**31)
ODD = {  # each with its orientation
    "pointer to nowhere": (exif(RIGHT, (0x8769, 4, 1, FAR), (0x8825, 4, 1, FAR)), 6),
    "pointer that is text": (exif(RIGHT, (0x8769, 2, 4, b"abcd")), 6),
    "pointer to itself": (exif(RIGHT, (0x8769, 4, 1, struct.pack("<L", 8))), 6),
    "huge count": (exif(RIGHT, (0x010F, 2, 2**32 - 1, FAR)), 6),
    "type that isn't": (exif(RIGHT, (0x010F, 999, 1, b"abcd")), 6),
    "resolution of zero parts": (exif(RIGHT, (0x011A, 5, 1, struct.pack("<L", 8)), (0x0128, 3, 1, 2)), 6),
    "resolution that is text": (exif(RIGHT, (0x011A, 2, 4, b"72\0\0"), (0x0128, 2, 2, b"2\0")), 6),
    "infinite resolution": (
        exif(RIGHT, (0x011A, 11, 1, struct.pack("<f", float("inf"))), (0x0128, 3, 1, 3)),
        6,
    ),
    "more entries than there are": (exif(RIGHT, count=9), 6),
    "orientation as a long": (exif((0x0112, 4, 1, struct.pack("<L", 6))), 6),
    "orientation as a byte": (exif((0x0112, 1, 1, b"\6")), 6),
    "orientation as text": (exif((0x0112, 2, 2, b"6\0")), 6),
    "orientation twice over": (exif((0x0112, 3, 2, struct.pack("<HH", 6, 6))), 6),
    "orientation of big-endians": (exif(RIGHT, order=">"), 6),
    "orientation of 0": (exif((0x0112, 3, 1, 0)), 1),
    "orientation of 9": (exif((0x0112, 3, 1, 9)), 1),
    "negative orientation": (exif((0x0112, 8, 1, struct.pack("<h", -6))), 1),
    "orientation as a fraction": (exif((0x0112, 5, 1, FAR)), 1),
    "orientation nowhere": (exif((0x0112, 3, 9, FAR)), 1),
    "no entries": (exif(), 1),
    "junk": (b"\xff" * 40, 1),
    "nothing": (b"", 1),
    "half a header": (b"II*\0\x08", 1),
    "directory nowhere": (b"II*\0" + FAR, 1),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", AVIF])
def test_odd_exif_keeps_no_picture_from_being_read(kind, name):
    block, orientation = ODD[name]
    content = with_exif(kind, block)
    plain = pixels(with_exif(kind, None))
    expected = np.rot90(plain, -1) if orientation == 6 and kind != "AVIF" else plain
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(pixels(content), expected)


def with_exif(kind, block):
    """A file of this kind with a block of EXIF; in an AVIF that doesn't say which way up it is (MIAF)."""
    if kind == "PNG":
        return PLAIN if block is None else PLAIN[:33] + chunk(b"eXIf", block) + PLAIN[33:]
    if kind == "JPEG":
        content = encoded(PICTURE, kind)
        body = b"Exif\0\0" + (block or b"")
        segment = b"\xff\xe1" + struct.pack(">H", 2 + len(body)) + body
        return content if block is None else content[:20] + segment + content[20:]
    if kind == "AVIF":
        own = Image.Exif()
        own[0x010E] = "Q" * 600
        content = encoded(PICTURE, kind, speed=10, exif=own)
        place = content.rindex(b"Exif\0\0", 0, content.index(b"Q" * 600)) + 6
        return (
            content if block is None else content[:place] + block.ljust(500, b"\0") + content[place + 500 :]
        )
    options = {} if block is None else {"exif": b"Exif\0\0" + block}
    return encoded(PICTURE, kind, lossless=True, **options)


@given(st.binary(max_size=200), st.booleans())
def test_any_exif_and_any_xmp_give_an_orientation(block, start):
    assert orientation_of((b"II*\0\x08\0\0\0" if start else b"") + block, block) in range(1, 9)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 61), st.integers(0, 255)), max_size=8))
def test_orientation_of_damaged_exif_is_pillows_where_it_has_one(changes):
    block = bytearray(exif(RIGHT, (0x010F, 2, 4, b"abc\0"), (0x0110, 3, 1, 7), (0x0132, 4, 1, 9)))
    for place, value in changes:
        block[place] = value
    whole = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole.load(bytes(block))
            pillows = whole.get(0x0112, 1)
    except Exception:
        pillows = None
    if isinstance(pillows, int) and pillows in range(2, 9):
        assert orientation_of(bytes(block)) == pillows


def png_with(*chunks, behind=False):
    place = len(PLAIN) - 12 if behind else 33
    return PLAIN[:place] + b"".join(chunks) + PLAIN[place:]


def packed_text(name, key, length):
    packed = hostile.packed_zeros(length)
    return chunk(name, key + (b"\0\0" if name == b"zTXt" else b"\0\1\0\0\0") + packed)


RAW = b"\nexif\n      %d\n%s\n"
FRAME = struct.pack(">IIIIIHHBB", 7, 9, 7, 0, 0, 0, 0, 0, 0)
CHUNKS = {
    "text over Pillow's limit": [chunk(b"tEXt", b"a\0" + b"b" * 2**20)] * 70,
    "a packed text of 1 GB": [packed_text(b"zTXt", b"a", 2**30)],
    "packed texts of 1 GB": [packed_text(b"zTXt", b"a%d" % place, 2**20) for place in range(1000)],
    "an international text of 1 GB": [packed_text(b"iTXt", b"a", 2**30)],
    "text packed in no known way": [chunk(b"zTXt", b"a\0\7abc")],
    "text that is no UTF-8": [chunk(b"iTXt", b"a\0\0\0\0\0\xff\xfe")],
    "text without a key": [chunk(b"tEXt", b"")],
    "a profile over Pillow's limit": [chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**21)))],
    "a profile packed in no known way": [chunk(b"iCCP", b"a\0\7abc")],
    "a profile that is cut": [chunk(b"iCCP", b"abc")],
    "100 000 chunks": [chunk(b"prVt", b"abc")] * 100_000,
    "short chunks": [
        chunk(name, b"") for name in (b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"tIME", b"acTL", b"fcTL")
    ],
    "frames out of order": [chunk(b"acTL", struct.pack(">II", 2, 0)), chunk(b"fcTL", FRAME)],
    "a checksum that is wrong": [chunk(b"pHYs", bytes(9))[:-1] + b"\0"],
    "EXIF of another kind": [chunk(b"eXIf", b"Exif\0\0Exif\0\0junk")],
    "a raw profile that isn't hexadecimal": [chunk(b"tEXt", b"Raw profile type exif\0" + RAW % (9, b"xyz"))],
    "half a raw profile": [chunk(b"tEXt", b"Raw profile type exif\0\nexif\n")],
    "a raw profile of 1 GB": [packed_text(b"zTXt", b"Raw profile type exif", 2**30)],
}


@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "behind them"])
@pytest.mark.parametrize("name", CHUNKS)
def test_chunks_that_only_say_something_keep_no_png_from_being_read(name, behind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(pixels(png_with(*CHUNKS[name], behind=behind)), PIXELS)


def test_damaged_pixels_are_refused_whatever_stands_beside_them():
    damaged = PLAIN[:33] + CHUNKS["text packed in no known way"][0] + PLAIN[33:-40]
    with pytest.raises(InputError, match="can't be decoded as an image"):
        read(damaged, Limits())


def test_limits_hold_whatever_stands_beside_the_pixels():
    with pytest.raises(InputError, match="63 pixels, and the limit is 62"):
        read(png_with(*CHUNKS["a profile that is cut"]), Limits(pixels=62))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("key", ["Raw profile type exif", "XML:com.adobe.xmp"])
def test_orientation_in_a_text_of_a_png_is_applied(key, zipped):
    body = b"Exif\0\0" + exif(RIGHT)
    text = RAW % (len(body), body.hex().encode()) if "exif" in key else b'<a tiff:Orientation="6"/>'
    info = PngImagePlugin.PngInfo()
    if "exif" in key:
        info.add_text(key, text, zip=zipped)
    else:
        info.add_itxt(key, text, zip=zipped)
    np.testing.assert_array_equal(pixels(encoded(PICTURE, "PNG", pnginfo=info)), TURNED)


@pytest.mark.parametrize("options", [{}, {"default_image": True}, {"blend": 1, "disposal": 2}])
def test_animated_png_gives_its_first_frame(options):
    frames = [PICTURE, Image.new("RGB", PICTURE.size, "red"), Image.new("RGB", PICTURE.size, "blue")]
    content = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(pixels(content), PIXELS)


SEGMENTS = {
    "an index of pictures that is junk": (0xE2, b"MPF\0" + b"\xff" * 40),
    "an index of pictures that is empty": (0xE2, b"MPF\0II*\0\x08\0\0\0\0\0"),
    "resources that are cut": (0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\x10ab"),
    "a profile in the wrong number of pieces": (0xE2, b"ICC_PROFILE\0\x01\x09abc"),
    "a profile that is cut": (0xE2, b"ICC_PROFILE\0"),
    "XMP that is junk": (0xE1, b"http://ns.adobe.com/xap/1.0/\0\xff\xfe tiff:Orientation='x'"),
    "a comment": (0xFE, b"\xff\xda\xff\xd8"),
    "half of a JFIF header": (0xE0, b"JFXX\0\x10"),
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_segments_that_only_say_something_keep_no_jpeg_from_being_read(name):
    marker, body = SEGMENTS[name]
    plain = encoded(PICTURE, "JPEG")
    content = plain[:20] + bytes((0xFF, marker)) + struct.pack(">H", 2 + len(body)) + body + plain[20:]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(pixels(content), pixels(plain))


def test_jpeg_with_bytes_between_its_segments_is_read():
    plain = encoded(PICTURE, "JPEG")
    np.testing.assert_array_equal(pixels(plain[:20] + b"abc\xff\xff" + plain[20:]), pixels(plain))


def test_pictures_behind_the_first_are_left_out():
    second = encoded(Image.new("RGB", (400, 300)), "JPEG")
    plain = encoded(PICTURE, "JPEG")
    np.testing.assert_array_equal(pixels(plain + second), pixels(plain))
    several = encoded(PICTURE, "MPO", save_all=True, append_images=[Image.new("RGB", (400, 300))])
    np.testing.assert_array_equal(pixels(several), pixels(plain))


TAGS = {
    "a pointer to nowhere": (0x8769, 4, (2**31,)),
    "a pointer to itself": (0x8769, 4, (8,)),
    "a pointer that is text": (0x8825, 2, b"abcd"),
    "text that is no text": (270, 2, b"\xff\xfe\0" * 9),
    "a resolution of zero parts": (282, 5, struct.pack("<LL", 1, 0)),
    "a profile that is junk": (34675, 7, b"junk" * 9),
    "XMP that is junk": (700, 1, b"\xff tiff:Orientation=" * 3),
    "XMP that is text": (700, 2, b"tiff:Orientation"),
    "a type that isn't": (50000, 77, b"abcdefgh"),
    "further pictures in it": (330, 4, (8, 8, 8, 2**31)),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", TAGS)
def test_tags_that_only_say_something_keep_no_tiff_from_being_read(name, packed):
    data = zlib.compress(PIXELS.tobytes()) if packed else PIXELS.tobytes()
    three = ((258, 3, (8, 8, 8)), (262, 3, (2,)), (277, 3, (3,)), (259, 3, (8 if packed else 1,)))
    strips = ((273, 4, "offset"), (279, 4, "length"), (278, 4, (7,)))
    content = hostile.tiff(9, 7, *three, *strips, (274, 3, (6,)), TAGS[name], data=data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(pixels(content), TURNED)


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"big_tiff": True}])
def test_orientation_in_the_xmp_of_a_tiff_is_applied(options):
    tags = {700: b'<a tiff:Orientation="6"/>'}
    np.testing.assert_array_equal(pixels(encoded(PICTURE, "TIFF", tiffinfo=tags, **options)), TURNED)


def test_tiff_whose_directories_go_round_is_read():
    content = bytearray(encoded(PICTURE, "TIFF"))
    start = struct.unpack_from("<L", content, 4)[0]
    count = struct.unpack_from("<H", content, start)[0]
    struct.pack_into("<L", content, start + 2 + 12 * count, start)
    np.testing.assert_array_equal(pixels(bytes(content)), PIXELS)


def test_image_of_pillow_with_odd_metadata_is_read():
    image = Image.open(io.BytesIO(with_exif("JPEG", b"MM\0*\xff\xff")))
    image.info["exif"] = b"Exif\0\0junk"
    assert read(image, Limits()).size == PICTURE.size
    loaded = PICTURE.copy()
    loaded.info["exif"] = 17
    np.testing.assert_array_equal(np.asarray(read(loaded, Limits())), PIXELS)
    turned = PICTURE.copy()
    turned.getexif()[0x0112] = 6
    np.testing.assert_array_equal(np.asarray(read(turned, Limits())), TURNED)
