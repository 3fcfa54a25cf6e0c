"""The first bytes choose the reader; what none reads is named, with a remedy."""

from __future__ import annotations

import io
import sys
import zipfile

import hostile
import numpy as np
import pytest
import soundfile
from hostile import encoded
from PIL import Image

from mmencode.errors import InputError
from mmencode.inputs import Limits
from mmencode.inputs.image import read
from mmencode.inputs.pictures import jxl

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
PICTURE = Image.fromarray(PIXELS)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def sound(kind):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(800), 8000, format=kind)
    return buffer.getvalue()


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("cat.jpg", b"x")
    return buffer.getvalue()


OTHERS = {
    "a web page": (b"<!doctype html><title>Sign in</title>", "an HTML page", "fetch the file itself"),
    "a pointer": (LFS, "a Git LFS pointer", "git lfs pull"),
    "a document": (encoded(PICTURE, "PDF"), "a PDF document", "render it to PNG"),
    "a drawing": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing", "render it to PNG"),
    "postscript": (encoded(PICTURE, "EPS"), "a PostScript document", "render it to PNG"),
    "a video": (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "an MP4 file", "ffmpeg"),
    "a film of the web": (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm", "a WebM video", "ffmpeg"),
    "a recording": (sound("WAV"), "a WAV recording", '"audio"'),
    "another recording": (sound("MP3"), "an MP3 recording", '"audio"'),
    "a recording in m4a": (b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42", "an M4A recording", '"audio"'),
    "an archive": (zipped(), "a zip archive", "the formats read are JPEG, PNG"),
    "a raw file": (b"FUJIFILMCCD-RAW 0201\0\1", "a camera's raw file (RAF)", "develop it"),
    "an icon": (encoded(PICTURE, "ICO"), "a Windows icon", "PIL.Image.open(path)"),
    "zeros": (bytes(5000), "nothing but zero bytes", "fetch it again"),
    "base64": (b"iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAAC", "text in base64", "base64.b64decode"),
    "text": (b"it is no picture", "plain text", "the formats read are"),
    "noise": (bytes(range(200, 256)), "nothing known: it begins with c8 c9", "the formats read are"),
    "one byte": (b"\xff", "nothing known: it begins with ff", "the formats read are"),
    "text read as a picture": (
        encoded(PICTURE, "PNG").decode("utf-8", "replace").encode(),
        "decoded",
        "binary",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_file_that_is_no_picture_is_named_by_its_first_bytes(name, tmp_path):
    content, what, remedy = OTHERS[name]
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for item in (content, path, io.BytesIO(content)):
        with pytest.raises(InputError, match="can't be decoded as an image") as caught:
            read(item, Limits())
        assert what in caught.value.fact
        assert remedy in caught.value.remedy


@pytest.mark.parametrize("ending", [".jfif", ".jpe", ".pjpeg", ".png", ".txt", ""])
def test_ending_says_nothing(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(encoded(PICTURE, "JPEG"))
    np.testing.assert_array_equal(
        np.asarray(read(path, Limits())), np.asarray(read(encoded(PICTURE, "JPEG"), Limits()))
    )


def test_jpeg_in_every_wrapping_is_a_jpeg():
    plain = encoded(PICTURE, "JPEG")
    without_jfif = plain[:2] + plain[20:]
    assert read(without_jfif, Limits()).size == PICTURE.size
    assert read(plain + b"a note behind it", Limits()).size == PICTURE.size


@pytest.mark.parametrize(
    ("kind", "content", "package", "remedy"),
    [
        ("a HEIC picture", hostile.boxed(b"heic", 40, 30), "pillow_heif", "mmencode[heif]"),
        ("a JPEG XL picture", hostile.jxl(40, 30), "pillow_jxl", "mmencode[jxl]"),
        (
            "a JPEG XL picture",
            jxl.BOXED + b"\0\0\0\x1ajxlc" + hostile.jxl(40, 30),
            "pillow_jxl",
            "mmencode[jxl]",
        ),
        ("an AVIF picture", hostile.boxed(b"avif", 40, 30), "PIL.AvifImagePlugin", "pip install -U pillow"),
    ],
)
def test_format_whose_package_is_missing_is_named_with_it(kind, content, package, remedy, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "pillow_jxl.JpegXLImagePlugin", raising=False)
    with pytest.raises(
        InputError, match=f"it is {kind}, and no installed package reads that format"
    ) as caught:
        read(content, Limits())
    assert remedy in caught.value.remedy
    assert not caught.value.lasting  # once the package is there, it is read


def test_pillow_without_a_library_is_like_one_without_the_format(monkeypatch):
    monkeypatch.setattr("PIL.WebPImagePlugin.SUPPORTED", False)
    with pytest.raises(InputError, match="it is a WebP picture, and no installed"):
        read(hostile.webp(40, 30), Limits())


@pytest.mark.parametrize("orientation", [1, 6])
def test_heic_is_read_upright_by_path_and_as_bytes(tmp_path, orientation, monkeypatch):
    heif = pytest.importorskip("pillow_heif", reason="it reads and writes HEIC")
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)  # as imageio, for one, leaves it there
    smooth = Image.fromarray(PIXELS[:2, :2]).resize((64, 40))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.heic"
    heif.from_pillow(smooth).save(path, quality=95, exif=exif.tobytes())
    expected = np.asarray(smooth).astype(int)
    expected = np.rot90(expected, -1) if orientation == 6 else expected
    for item in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        found = np.asarray(read(item, Limits())).astype(int)
        assert found.shape == expected.shape
        assert np.abs(found - expected).mean() < 8
    with pytest.raises(InputError, match="2560 pixels, and the limit is 2559"):
        read(path, Limits(pixels=2559))
    assert "HEIF" not in Image.OPEN  # what the user's Pillow reads is the user's


def test_heic_whose_boxes_belie_it_or_whose_metadata_is_odd_is_read_or_refused(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="it reads and writes HEIC")
    buffer = io.BytesIO()
    heif.from_pillow(PICTURE).save(buffer, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert read(buffer.getvalue(), Limits()).size == PICTURE.size
    with pytest.raises(InputError, match="can't be decoded as an image"):
        read(hostile.renamed_size(buffer.getvalue(), 8, 8), Limits())


def test_jpeg_xl_is_read_by_path_and_as_bytes(tmp_path):
    pytest.importorskip("pillow_jxl", reason="it reads and writes JPEG XL")
    path = tmp_path / "a.jxl"
    for options in ({}, {"use_container": True}):
        PICTURE.save(path, lossless=True, **options)
        for item in (path, path.read_bytes()):
            np.testing.assert_array_equal(np.asarray(read(item, Limits())), PIXELS)
        with pytest.raises(InputError, match="1230 pixels, and the limit is 1229"):
            read(path, Limits(pixels=1229))


def test_jpeg_in_a_jpeg_xl_is_the_upright_jpeg(tmp_path):
    pytest.importorskip("pillow_jxl", reason="it reads and writes JPEG XL")
    exif = Image.Exif()
    exif[0x0112] = 6
    PICTURE.save(tmp_path / "a.jpg", exif=exif)
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.jxl", lossless_jpeg=True)
    np.testing.assert_array_equal(
        np.asarray(read(tmp_path / "a.jxl", Limits())), np.asarray(read(tmp_path / "a.jpg", Limits()))
    )


@pytest.mark.parametrize(
    "size",
    [(1, 1), (8, 8), (256, 256), (257, 100), (640, 480), (1920, 1080), (33, 4000), (5000, 10), (2**20, 3)],
)
def test_size_of_a_jpeg_xl_is_that_in_its_header(size):
    assert jxl.parse_header(hostile.jxl(*size)).size == size
    plugin = pytest.importorskip("pillow_jxl.JpegXLImagePlugin", reason="it writes JPEG XL")
    assert plugin is not None
    if size[0] * size[1] < 10**6:
        assert jxl.parse_header(encoded(Image.new("RGB", size), "JXL")).size == size


def test_closed_image_is_named(tmp_path):
    path = tmp_path / "a.png"
    PICTURE.save(path)
    with Image.open(path) as within:
        pass
    with path.open("rb") as file:
        of_file = Image.open(file)
    loaded = Image.open(path)
    loaded.load()
    loaded.close()
    for image in (within, of_file):
        with pytest.raises(InputError, match="closed before its pixels were read") as caught:
            read(image, Limits())
        assert "load()" in caught.value.remedy
    with pytest.raises(InputError, match="closed"):
        read(loaded, Limits())


def test_image_that_was_loaded_before_its_file_was_closed_is_read(tmp_path):
    path = tmp_path / "a.png"
    PICTURE.save(path)
    with Image.open(path) as image:
        image.load()
    np.testing.assert_array_equal(np.asarray(read(image, Limits())), PIXELS)


def test_avif_is_known_by_what_it_holds_where_its_brand_leaves_it_open():
    if not hostile.AVIF:
        pytest.skip("this Pillow writes no AVIF")
    content = encoded(PICTURE, "AVIF", speed=10).replace(b"ftypavif", b"ftypmif1", 1)
    assert read(content, Limits()).size == PICTURE.size
