"""Samples of any depth and meaning become the brightness that their file says they are."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import hostile
import numpy as np
import pytest
import torch
from hostile import chunk, encoded, png
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import resize

from mmencode.errors import InputError
from mmencode.inputs import Limits
from mmencode.inputs.image import read

WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1
RAMP = [0, 51, 102, 204, 255]  # what the samples below show as


def grey(item):
    found = np.asarray(read(item, Limits()))
    assert (found == found[..., :1]).all()
    return found[0, :, 0].tolist()


def tiff(values, bits, photometric=BLACK_IS_ZERO, kind=1, order="<", packed=False):
    """A TIFF of one row of grey values, as `values` packs them."""
    data = zlib.compress(values) if packed else values
    count = len(RAMP)
    strips = ((273, 4, "offset"), (279, 4, "length"), (278, 4, (1,)))
    meaning = (
        (258, 3, (bits,)),
        (262, 3, (photometric,)),
        (339, 3, (kind,)),
        (259, 3, (8 if packed else 1,)),
    )
    return hostile.tiff(count, 1, *strips, *meaning, order=order, data=data)


def scaled(top):
    return [round(value / 255 * top) for value in RAMP]


def twelve_bits(values):
    bits = "".join(f"{value:012b}" for value in values)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


SAMPLES = {  # what is written, of how many bits, and of which kind: 1 unsigned, 2 signed, 3 floating-point
    "12 bits": (twelve_bits(scaled(4095)), 12, 1),
    "16 bits": (struct.pack("<5H", *scaled(65535)), 16, 1),
    "16 signed bits": (struct.pack("<5h", *scaled(32767)), 16, 2),
    "32 bits": (struct.pack("<5L", *scaled(2**32 - 1)), 32, 1),
    "32 signed bits": (struct.pack("<5l", *scaled(2**31 - 1)), 32, 2),
    "32 signed bits up to 255": (struct.pack("<5l", *RAMP), 32, 2),
    "32 bits up to 65535": (struct.pack("<5L", *scaled(65535)), 32, 1),
    "16 signed bits up to 255": (struct.pack("<5h", *RAMP), 16, 2),
    "8 signed bits": (struct.pack("<5b", *scaled(127)), 8, 2),
    "floats": (struct.pack("<5f", *(value / 255 for value in RAMP)), 32, 3),
    "floats a hair beyond": (struct.pack("<5f", -1e-6, 0.2, 0.4, 0.8, 1.0000002), 32, 3),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("name", SAMPLES)
def test_grey_tiff_shows_what_its_samples_mean(name, packed):
    values, bits, kind = SAMPLES[name]
    found = grey(tiff(values, bits, BLACK_IS_ZERO, kind, packed=packed))
    np.testing.assert_allclose(found, RAMP, atol=1 if bits == 8 else 0)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("name", SAMPLES)
def test_grey_tiff_whose_zero_is_white_is_no_negative(name, packed):
    values, bits, kind = SAMPLES[name]
    found = grey(tiff(values, bits, WHITE_IS_ZERO, kind, packed=packed))
    np.testing.assert_allclose(found, [255 - value for value in RAMP], atol=1)


@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_grey_tiff_of_big_endians_shows_what_its_samples_mean(packed, photometric):
    values = struct.pack(">5H", *scaled(65535))
    found = grey(tiff(values, 16, photometric, order=">", packed=packed))
    assert found == (RAMP if photometric else [255 - value for value in RAMP])


@pytest.mark.parametrize(
    ("bits", "photometric", "expected"), [(1, 0, 255), (1, 1, 0), (8, 0, 255), (8, 1, 0)]
)
def test_grey_tiff_of_few_bits_keeps_its_meaning(bits, photometric, expected):
    assert grey(tiff(bytes(5), bits, photometric)) == [expected] * 5


def test_samples_that_nothing_says_the_range_of_are_refused():
    for values, kind, words in (
        (struct.pack("<5l", 0, 1, 2, 3, 70000), 2, "it would be black"),
        (struct.pack("<5h", -5, 1, 2, 3, 4), 2, "go from -5"),
        (struct.pack("<5f", 0, 1, 2, 3, 255), 3, "not 0 to 1"),
        (struct.pack("<5f", 0, 1, 0, 1, float("nan")), 3, "not 0 to 1"),
    ):
        with pytest.raises(InputError, match=words):
            read(tiff(values, len(values) // 5 * 8, BLACK_IS_ZERO, kind), Limits())


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), "3 samples of 32 bits, floating-point, RGB"),
        (np.zeros((4, 4, 3), np.uint32), "3 samples of 32 bits, RGB"),
        (np.zeros((4, 4), np.float64), "1 sample of 64 bits, floating-point"),
        (np.zeros((4, 4), np.complex64), "1 sample of 64 bits, of a format of its own"),
    ],
)
def test_layout_that_pillow_does_not_read_is_named(array, words):
    tifffile = pytest.importorskip("tifffile", reason="it writes the layouts")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, photometric="rgb" if array.ndim == 3 else "minisblack")
    with pytest.raises(InputError, match=words) as caught:
        read(buffer.getvalue(), Limits())
    assert "pass its pixels as an array" in caught.value.remedy


def jpeg_whose(marker, precision=8, components=3):
    content = bytearray(encoded(Image.new("RGB", (16, 16)), "JPEG"))
    place = content.index(b"\xff\xc0")
    content[place + 1], content[place + 4], content[place + 9] = marker, precision, components
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (jpeg_whose(0xC1, precision=12), "a JPEG of 12 bits a sample"),
        (jpeg_whose(0xC3), "a lossless JPEG"),
        (jpeg_whose(0xC5), "a hierarchical JPEG"),
        (jpeg_whose(0xC0, components=2), "a JPEG of 2 components"),
    ],
)
def test_jpeg_of_a_layout_that_pillow_does_not_read_is_named(content, words):
    with pytest.raises(InputError, match=words):
        read(content, Limits())


@pytest.mark.parametrize(
    ("depth", "row"), [(1, b"\x50"), (2, b"\x1b"), (4, b"\x0f\x37"), (8, b"\0\3\x80\xff")]
)
def test_grey_png_shows_its_transparent_value_as_white(depth, row):
    plain = grey(png(4, 1, depth, 0, rows=b"\0" + row))
    samples = [int(row[0] >> (8 - depth * (place + 1)) & (2**depth - 1)) for place in range(8 // depth)]
    samples = list(row) if depth == 8 else [*samples, *((row[-1] >> 4, row[-1] & 15) if depth == 4 else ())]
    value = samples[1]
    found = grey(png(4, 1, depth, 0, chunk(b"tRNS", struct.pack(">H", value)), rows=b"\0" + row))
    expected = [255 if sample == value else shade for sample, shade in zip(samples, plain, strict=False)]
    assert found == expected


def test_grey_png_of_sixteen_bits_shows_its_transparent_value_as_white():
    rows = b"\0" + struct.pack(">4H", 0, 300, 301, 65535)
    assert grey(png(4, 1, 16, 0, chunk(b"tRNS", struct.pack(">H", 0)), rows=rows)) == [255, 1, 1, 255]
    assert grey(png(4, 1, 16, 0, chunk(b"tRNS", struct.pack(">H", 300)), rows=rows)) == [0, 255, 1, 255]


def test_coloured_png_of_sixteen_bits_shows_its_transparent_colour_alone_as_white():
    colours = [(0, 0, 0), (300, 300, 300), (301, 300, 300), (65535, 0, 0)]
    rows = b"\0" + b"".join(struct.pack(">3H", *colour) for colour in colours)
    found = read(png(4, 1, 16, 2, chunk(b"tRNS", struct.pack(">3H", 300, 300, 300)), rows=rows), Limits())
    assert np.asarray(found)[0].tolist() == [[0, 0, 0], [255, 255, 255], [1, 1, 1], [255, 0, 0]]


def test_dark_png_of_sixteen_bits_stays_dark():
    assert grey(png(3, 1, 16, 0, rows=b"\0" + struct.pack(">3H", 0, 255, 514))) == [0, 1, 2]


def test_deep_netpbm_keeps_its_range():
    assert grey(b"P5\n3 1\n65535\n" + struct.pack(">3H", 0, 200, 65535)) == [0, 1, 255]
    assert grey(b"P5\n3 1\n1023\n" + struct.pack(">3H", 0, 512, 1023)) == [0, 128, 255]
    assert grey(b"P2\n3 1\n15\n0 5 15\n") == [0, 85, 255]


TOPS = st.one_of(st.sampled_from([1, 15, 255, 256, 1023, 65535]), st.integers(1, 65535))


@st.composite
def netpbm(draw):
    """A file of any kind and range, with comments, perhaps cut."""
    kind = draw(st.integers(1, 6))
    width, height, top = (
        draw(st.integers(1, 9)),
        draw(st.integers(1, 9)),
        draw(TOPS) if kind not in (1, 4) else 1,
    )
    count = width * height * (3 if kind in (3, 6) else 1)
    values = draw(st.lists(st.integers(0, top), min_size=count, max_size=count))
    space = draw(st.sampled_from([b"\n", b" ", b"\n# a comment\n"]))
    head = b"P%d%s%d %d" % (kind, space, width, height) + (b" %d" % top if kind not in (1, 4) else b"")
    if kind < 4:
        between = draw(st.sampled_from([b" ", b"\n", b" \n# a comment\n "] + [b""] * (kind == 1)))
        body = between.join(b"%d" % value for value in values)
    elif kind == 4:
        body = bytes(draw(st.lists(st.integers(0, 255), min_size=40, max_size=40)))
    else:
        body = b"".join(value.to_bytes(2 if top > 255 else 1, "big") for value in values)
    kept = draw(st.one_of(st.just(1.0), st.floats(0, 1)))
    return head + b"\n" + body[: int(kept * len(body))]


@settings(deadline=None)
@given(netpbm())
def test_netpbm_is_what_pillow_reads_slowly(content):
    try:
        expected = Image.open(io.BytesIO(content), formats=["PPM"])
        expected.load()
    except (OSError, ValueError, SyntaxError):
        with pytest.raises(InputError, match="can't be decoded as an image"):
            read(content, Limits())
        return
    deep = expected.mode == "I"  # of 16 bits, whatever its values
    expected = Image.fromarray(np.asarray(expected).astype(np.uint16)) if deep else expected
    np.testing.assert_array_equal(np.asarray(read(content, Limits())), np.asarray(read(expected, Limits())))


def test_large_netpbm_is_read_by_pieces():
    values = np.random.default_rng(0).integers(0, 1024, (600, 800, 3))
    content = b"P3 800 600 1023\n" + " ".join(map(str, values.ravel().tolist())).encode()
    assert len(content) > 2**22  # bytes of a piece
    np.testing.assert_array_equal(np.asarray(read(content, Limits())), np.rint(values / 1023 * 255))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"P2 2 1 9\n1 -1", "only 1 of its 2 samples"),
        (b"P2 2 1 9\n1 10", "a sample of 10"),
        (b"P2 2 1 9\n1 99999999999999999999", "more than ten digits"),
        (b"P1 2 1\n12", "only 1 of its 2 samples"),
        (b"P6 2 1 1023\nabc", "only 1 of its 6 samples"),
        (b"P5 2 1 70000\nabcd", "not 1 to 65535"),
        (b"P5 2 x 255\nabcd", "lacks a number"),
        (b"P5 2", "cut"),
    ],
)
def test_netpbm_that_is_damaged_is_refused(content, words):
    with pytest.raises(InputError, match=words):
        read(content, Limits())


@pytest.mark.parametrize(
    ("values", "expected"), [(RAMP, RAMP), (scaled(65535), RAMP), ([0, 0, 0, 0, 0], [0] * 5)]
)
def test_image_of_integers_is_of_eight_bits_where_all_values_are(values, expected):
    assert grey(Image.fromarray(np.array([values], np.int32))) == expected


def test_image_that_pillow_made_integers_of_is_itself():
    shades = Image.fromarray(np.array([RAMP], np.uint8))
    assert grey(shades.convert("I")) == RAMP


@pytest.mark.parametrize("mode", [InterpolationMode.BILINEAR, InterpolationMode.BICUBIC])
@pytest.mark.parametrize("size", [(23, 31), (40, 50), (200, 300)])
def test_float_tensor_that_torchvision_resized_is_read(mode, size):
    picture = torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(0)).round()  # black and white
    resized = resize(picture, list(size), mode, antialias=True)
    found = np.asarray(read(resized, Limits()))
    expected = (resized.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(found, expected)


def test_floats_a_hair_beyond_one_are_read_in_every_guise():
    values = np.array([[-1e-7, 0.2, 0.4, 0.8, 1.0000002]], np.float32)
    for item in (values, torch.from_numpy(values), Image.fromarray(values), values.astype(np.float64)):
        assert grey(item) == RAMP


@pytest.mark.parametrize("item", [np.array([[-0.31, 1]]), np.array([[0, 1.31]]), np.array([[-1, 1.0]])])
def test_floats_of_another_range_are_refused(item):
    with pytest.raises(InputError, match="0 to 1"):
        read(item, Limits())


def test_large_picture_of_any_mode_is_converted_by_pieces_to_the_same_pixels():
    random = np.random.default_rng(0)
    shades = random.integers(0, 256, (1300, 1000), np.uint8)  # more than the 2^20 pixels of a piece
    clear = Image.fromarray(random.integers(0, 256, (1300, 1000, 4), np.uint8))
    images = [
        Image.fromarray(shades.astype(np.uint16) * 200),
        Image.fromarray(shades / np.float32(255)),
        clear,
    ]
    images += [clear.convert("LA"), Image.fromarray(shades.astype(np.int32) * 257)]
    for image in images:
        halves = [image.crop((0, top, 1000, top + 650)) for top in (0, 650)]
        expected = np.concatenate([np.asarray(read(half, Limits())) for half in halves])
        np.testing.assert_array_equal(np.asarray(read(image, Limits())), expected)


SHAPES = [
    (torch.zeros(2, 5, 6), "item[:1] is the grey"),
    (torch.zeros(5, 6, 3), "permute(2, 0, 1)"),
    (torch.zeros(5, 5, 6), "item[:3], if they are the first"),
    (torch.zeros(1, 3, 5, 6), "pass item[0]"),
    (torch.zeros(2, 3, 5, 6), "pass one image"),
    (torch.zeros(5), "pass one image"),
    (np.zeros((5, 6, 2), np.uint8), "item[:, :, :1] is the grey"),
    (np.zeros((3, 5, 6), np.uint8), "transpose(1, 2, 0)"),
    (np.zeros((5, 6, 7), np.uint8), "item[:, :, :3]"),
    (np.zeros((1, 5, 6, 3), np.uint8), "pass item[0]"),
]


@pytest.mark.parametrize(("item", "remedy"), SHAPES, ids=lambda value: str(getattr(value, "shape", "")))
def test_remedy_for_a_shape_works(item, remedy):
    with pytest.raises(InputError, match="shape") as caught:
        read(item, Limits())
    assert remedy in caught.value.remedy
    if "item[" in remedy:
        expression = remedy[remedy.index("item[") :].split("]")[0] + "]"
        assert read(eval(expression, {"item": item}), Limits()).size == (6, 5)


@pytest.mark.parametrize(
    "item", [torch.zeros(4, 4).to_sparse(), torch.zeros(4, 4, device="meta"), torch.zeros(4, 4) + 0j]
)
def test_tensor_without_plain_pixels_is_refused(item):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that sparse layouts are in beta
        with pytest.raises(InputError, match=r"plain pixels|type is complex"):
            read(item, Limits())
