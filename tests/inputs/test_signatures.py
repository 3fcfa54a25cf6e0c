from __future__ import annotations

import base64
import gzip
import io
import json
import pickle
import sqlite3
import sys
import tarfile
import zipfile
from contextlib import closing

import hostile
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmencode.inputs.signatures import kind_of_bytes, remedy_for


def picture(kind, **options):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, kind, **options)
    return buffer.getvalue()


def sound(kind, subtype=None):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(800, np.float32), 8000, subtype, format=kind)
    return buffer.getvalue()


def zipped(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"x")
    return buffer.getvalue()


def tarred():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return buffer.getvalue()


def arrays():
    single, many = io.BytesIO(), io.BytesIO()
    np.save(single, np.zeros(3))
    np.savez(many, first=np.zeros(3))
    return single.getvalue(), many.getvalue()


def base_media(brand, *others):
    brands = brand + bytes(4) + b"".join(others)
    return (8 + len(brands)).to_bytes(4, "big") + b"ftyp" + brands + b"\0\0\0\x08mdat"


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"

KINDS = [
    ("a JPEG picture", picture("JPEG")),
    ("a PNG picture", picture("PNG")),
    ("a GIF picture", picture("GIF")),
    ("a BMP picture", picture("BMP")),
    ("a TIFF picture", picture("TIFF")),
    ("a TIFF picture", picture("TIFF", big_tiff=True)),
    ("a WebP picture", picture("WEBP")),
    ("a Netpbm picture", picture("PPM")),
    ("a Netpbm picture", b"P3\n# a comment\n1 1\n255\n1 2 3\n"),
    ("a Windows icon", picture("ICO")),
    ("a PostScript document (EPS)", picture("EPS")),
    ("a PDF document", picture("PDF")),
    ("a PNG picture damaged by a transfer as text", picture("PNG").replace(b"\r\n", b"\n", 1)),
    ("an AVIF picture", base_media(b"avif", b"mif1", b"miaf")),
    ("an AVIF picture", base_media(b"mif1", b"avif", b"miaf")),
    ("a HEIC picture", base_media(b"heic", b"mif1")),
    ("a HEIC picture", base_media(b"mif1", b"heic")),
    ("a HEIF picture", base_media(b"mif1")),
    ("a camera's raw file (CR3)", base_media(b"crx ", b"isom")),
    ("a JPEG XL picture", b"\xff\x0a\xf8\x8f"),
    ("a JPEG XL picture", b"\0\0\0\x0cJXL \r\n\x87\n" + base_media(b"jxl ")),
    ("a Photoshop document", b"8BPS\0\1" + bytes(6)),
    ("a DICOM picture", bytes(128) + b"DICM\2\0"),
    ("a WAV recording", sound("WAV")),
    ("a WAV recording", sound("RF64")),
    ("a FLAC recording", sound("FLAC")),
    ("an Ogg recording", sound("OGG", "VORBIS")),
    ("an Opus recording", sound("OGG", "OPUS")),
    ("an MP3 recording", sound("MP3")),
    ("an MP3 recording", b"ID3\4" + bytes(20)),
    ("an AIFF recording", sound("AIFF")),
    ("an AU recording", sound("AU")),
    ("a CAF recording", sound("CAF")),
    ("a Wave64 recording", sound("W64")),
    ("an AAC recording", b"\xff\xf1\x50\x80\x02\x1f\xfc"),
    ("an AMR recording", b"#!AMR\n\x3c\x91"),
    ("a MIDI file, notes rather than sound", b"MThd\0\0\0\6\0\1\0\2\1\xe0MTrk"),
    ("an M4A recording", base_media(b"M4A ", b"mp42", b"isom")),
    ("an MP4 file, a video or sound alone", base_media(b"isom", b"mp42")),
    ("a QuickTime video", base_media(b"qt  ")),
    ("a QuickTime video", b"\0\0\0\x08wide\0\0\1\0mdat"),
    ("a WebM video", b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm"),
    ("a Matroska video", b"\x1a\x45\xdf\xa3\xa3\x42\x86\x81\x01\x42\x82\x88matroska"),
    ("an ASF file (WMA or WMV)", bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")),
    ("an AVI video", b"RIFF\x24\0\0\0AVI LIST"),
    ("a RIFF file of the kind 'PAL '", b"RIFF\x24\0\0\0PAL data"),
    ("an HTML page", b"\n  <!DOCTYPE html>\n<html><head><title>Sign in</title>"),
    ("an HTML page", "\ufeff<!-- saved --><HTML lang='de'><body>\u00e4".encode()),
    ("an HTML page", "<html>".encode("utf-16")),
    ("an SVG drawing", b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">'),
    ("an XML document", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'),
    ("a JSON document", json.dumps({"error": "no such key"}).encode()),
    ("a JSON document", b'[{"a": 1}]'),
    ("a Git LFS pointer, which stands for a file that was never fetched", LFS),
    ("the text of a data: URI", b"data:image/png;base64,iVBORw0KGgo="),
    ("text in base64", base64.b64encode(picture("PNG"))),
    ("text in base64", base64.encodebytes(picture("PNG"))),
    ("the text of Python's repr of bytes", repr(picture("PNG")).encode()),
    ("the text of a URL", b"https://example.org/cat.jpg\n"),
    ("a zip archive", zipped("photos/cat.jpg")),
    ("an office document or an e-book", zipped("[Content_Types].xml")),
    ("a file of weights (PyTorch)", zipped("archive/data.pkl")),
    ("a gzip archive", gzip.compress(b"x")),
    ("a tar archive", tarred()),
    ("a NumPy array", arrays()[0]),
    ("an archive of NumPy arrays", arrays()[1]),
    ("a Parquet table", b"PAR1\x15\4"),
    ("a file of weights (safetensors)", (64).to_bytes(8, "little") + b'{"a":{"dtype"'),
    ("a Python pickle", pickle.dumps([1, 2])),
    ("nothing but zero bytes", bytes(9000)),
    ("nothing but white space", b" \n\t "),
    ("plain text", "BMW, MZ und GIF8 sind W\u00f6rter".encode()),
    ("plain text", b"a"),
    ("plain text", ("\u00e4" * 4000).encode()),  # the last character looked at is cut
    (
        "bytes that were decoded as text and written again, which destroys them",
        picture("PNG").decode("utf-8", "replace").encode(),
    ),
    (
        "bytes that were decoded as text and written again, which destroys them",
        picture("JPEG").decode("latin-1").encode(),
    ),
    ("", b""),
    ("", bytes(range(200, 256))),
]


@pytest.mark.parametrize(
    ("kind", "content"), KINDS, ids=lambda value: value[:32] if type(value) is str else ""
)
def test_kind_is_told_by_the_first_bytes(kind, content):
    assert kind_of_bytes(content) == kind
    assert kind_of_bytes(memoryview(content)) == kind


def test_avif_of_pillow_is_an_avif():
    if not hostile.AVIF:
        pytest.skip("this Pillow writes no AVIF")
    assert kind_of_bytes(picture("AVIF")) == "an AVIF picture"


def test_program_is_a_program():
    if not sys.platform.startswith("linux"):
        pytest.skip("what programs look like depends on the system")
    with open(sys.executable, "rb") as file:
        assert kind_of_bytes(file.read(100)) == "a program (ELF)"


def test_database_is_a_database(tmp_path):
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("create table a (b)")
    assert kind_of_bytes((tmp_path / "a.db").read_bytes()) == "an SQLite database"


def test_remedies_belong_to_kinds_that_are_told():
    assert remedy_for(kind_of_bytes(LFS), "none") == "fetch it: git lfs pull"
    assert remedy_for("a JPEG picture", "none") == "none"


@given(st.binary(max_size=600))
def test_any_bytes_have_a_kind_or_none(content):
    kind = kind_of_bytes(content)
    assert kind == kind_of_bytes(content + b"")
    assert "\n" not in kind
    assert kind.isprintable()
