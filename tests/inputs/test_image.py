from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor

import hostile
import numpy as np
import pytest
import torch
from PIL import Image

from mmencode.errors import InputError
from mmencode.inputs import Limits
from mmencode.inputs.image import read

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (6, 9, 3), np.uint8)
PICTURE = Image.fromarray(PIXELS)


def encoded(image=PICTURE, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(item, **limits):
    image = read(item, Limits(**limits))
    assert image.mode == "RGB"
    return np.asarray(image)


def test_path_bytes_file_and_image_are_one_picture(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded())
    with path.open("rb") as file:
        items = [path, str(path), encoded(), bytearray(encoded()), memoryview(encoded()), file, PICTURE]
        for item in items:
            np.testing.assert_array_equal(pixels(item), PIXELS)


def test_ending_does_not_choose_the_decoder(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(kind="PNG"))
    np.testing.assert_array_equal(pixels(path), PIXELS)


def test_arrays_and_tensors_are_one_picture():
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1)
    for item in (PIXELS, PIXELS / 255, (PIXELS / 255).astype(np.float32), tensor, tensor / 255, tensor[:, :]):
        np.testing.assert_array_equal(pixels(item), PIXELS)
    half = pixels((tensor / 255).to(torch.bfloat16))
    assert np.abs(half.astype(int) - PIXELS).max() <= 1


def test_grey_arrays_have_three_equal_channels():
    grey = PIXELS[:, :, 0]
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    for item in (grey, grey[:, :, None], torch.from_numpy(grey), torch.from_numpy(grey)[None]):
        np.testing.assert_array_equal(pixels(item), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {
        1: PIXELS,
        2: PIXELS[:, ::-1],
        3: PIXELS[::-1, ::-1],
        4: PIXELS[::-1],
        5: PIXELS.transpose(1, 0, 2),
        6: np.rot90(PIXELS, -1),
        7: np.rot90(PIXELS.transpose(1, 0, 2), 2),
        8: np.rot90(PIXELS),
    }
    np.testing.assert_array_equal(pixels(encoded(exif=exif)), turned[orientation])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_any_mode_becomes_rgb(mode):
    grey = PICTURE.convert("L")
    image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else None
    if mode == "F":
        image = Image.fromarray(np.asarray(grey, np.float32) / 255)
    elif mode == "I":
        image = Image.fromarray(np.asarray(grey).astype(np.int32) * 257)
    image = PICTURE.convert(mode) if image is None else image
    found = pixels(image)
    assert found.shape == PIXELS.shape
    if mode in ("I;16", "I", "F"):
        np.testing.assert_array_equal(found[:, :, 0], np.asarray(grey))


def test_sixteen_bit_png_keeps_its_range():
    deep = Image.fromarray(np.array([[0, 32768, 65535]], np.uint16))
    assert pixels(encoded(deep))[0, :, 0].tolist() == [0, 128, 255]


def test_cmyk_jpeg_keeps_its_colours():
    even = Image.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK")
    assert np.abs(pixels(encoded(even, "JPEG"))[8, 8].astype(int) - [200, 40, 90]).max() < 6


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_alpha_is_laid_over_white(mode):
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert (pixels(clear.convert(mode)) == 255).all()


def test_transparent_palette_is_laid_over_white():
    image = Image.new("P", (2, 2), 0)
    image.putpalette([10, 20, 30])
    assert (pixels(encoded(image, transparency=0)) == 255).all()


def test_four_channel_array_is_laid_over_white():
    assert (pixels(np.zeros((2, 2, 4), np.uint8)) == 255).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animation_gives_its_first_frame(kind):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    found = pixels(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert found[0, 0].tolist() == [255, 0, 0]


def test_one_pixel_is_an_image():
    assert pixels(np.zeros((1, 1, 3), np.uint8)).shape == (1, 1, 3)


def test_lazy_image_may_be_read_by_many_threads():
    lazy = Image.open(io.BytesIO(encoded(PICTURE.resize((640, 480)), "JPEG")))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(pixels, [lazy] * 16))
    assert all(np.array_equal(found[0], other) for other in found)


def test_file_is_left_open():
    file = io.BytesIO(encoded())
    read(file, Limits())
    assert not file.closed


class Unreadable:
    def read(self, size):
        raise OSError("disk on fire")


BAD = {
    "missing file": ("no/such/file.jpg", "no such file"),
    "url": ("https://example.org/cat.jpg", "URL"),
    "null in path": ("a\0b", "can't be opened|no such file"),
    "directory": (os.curdir, "a directory"),
    "device": (os.devnull, "not a regular file"),
    "empty bytes": (b"", "empty"),
    "text bytes": (b"this is no picture" * 9, "can't be decoded"),
    "truncated png": (encoded(PICTURE.resize((99, 99)))[:-200], "can't be decoded"),
    "truncated jpeg": (encoded(PICTURE.resize((99, 99)), "JPEG")[:700], "can't be decoded"),
    "half a gif": (encoded(PICTURE.resize((99, 99)), "GIF")[:1000], "can't be decoded"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "can't be decoded"),
    "none": (None, "NoneType is no image"),
    "number": (3, "int is no image"),
    "list": ([[1]], "list is no image"),
    "text file": (io.StringIO("text"), "binary mode"),
    "failing file": (Unreadable(), "disk on fire"),
    "channels first array": (np.zeros((3, 8, 9), np.uint8), "channels last"),
    "channels last tensor": (torch.zeros(8, 9, 3), "channels first"),
    "five dimensions": (np.zeros((1, 1, 1, 1, 3), np.uint8), "shape"),
    "int array": (np.zeros((4, 4, 3), np.int32), "int32"),
    "float over one": (np.full((4, 4, 3), 255.0), "from 0 to 1"),
    "nan": (np.full((4, 4, 3), np.nan), "finite"),
    "no pixels": (np.zeros((0, 4, 3), np.uint8), "no pixels"),
    "no pixels, PIL": (Image.new("RGB", (0, 3)), "no pixels"),
    "float image of mode F": (Image.fromarray(np.full((2, 2), 7.0, np.float32)), "not 0 to 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_item_is_refused_with_the_reason(name):
    item, words = BAD[name]
    with pytest.raises(InputError, match=words) as caught:
        read(item, Limits())
    assert caught.value.source
    assert "0x" not in str(caught.value)


def test_bomb_is_refused_before_it_is_decoded():
    content = hostile.png(13000, 15000)
    assert len(content) < 700_000
    with pytest.raises(InputError):
        read(content, Limits())


def test_limits_are_arguments(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded())
    with pytest.raises(InputError, match="54 pixels, and the limit is 53"):
        read(path, Limits(pixels=53))
    for item in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        with pytest.raises(InputError, match="more than 20 bytes"):
            read(item, Limits(bytes=20))
    with pytest.raises(InputError, match="the limit is 53"):
        read(PIXELS, Limits(pixels=53))


def test_unreadable_file_is_named(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encoded())
    monkeypatch.setattr("os.open", lambda *_: (_ for _ in ()).throw(PermissionError("not yours")))
    with pytest.raises(InputError, match="not yours") as caught:
        read(path, Limits())
    assert caught.value.source == str(path)


@pytest.mark.parametrize(
    ("least", "size"), [(0, (640, 400)), (100, (160, 100)), (150, (320, 200)), (201, (640, 400))]
)
def test_jpeg_may_be_decoded_at_a_smaller_scale(least, size):
    file = io.BytesIO()
    Image.effect_noise((640, 400), 50).save(file, "JPEG")
    found = read(file.getvalue(), Limits(), least)
    assert found.size == size


def test_smaller_scale_is_for_jpegs_and_keeps_the_limits():
    file = io.BytesIO()
    Image.new("RGB", (640, 400)).save(file, "PNG")
    assert read(file.getvalue(), Limits(), 50).size == (640, 400)
    file = io.BytesIO()
    Image.new("RGB", (640, 400)).save(file, "JPEG")
    with pytest.raises(InputError, match="640 x 400"):
        read(file.getvalue(), Limits(pixels=1000), 50)
