from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmencode.errors import InputError
from mmencode.inputs import Limits
from mmencode.pages import Preview, make_previews
from mmencode.pages.previews import SOUND_BYTES, embed_sound, make_thumbnail


def content(uri):
    return base64.b64decode(uri.partition(",")[2])


def test_thumbnail_is_a_small_jpeg_of_the_same_shape(tmp_path):
    Image.new("RGB", (2000, 1000), "red").save(tmp_path / "large.png")
    uri = make_thumbnail(tmp_path / "large.png")
    assert uri.startswith("data:image/jpeg;base64,")
    small = Image.open(io.BytesIO(content(uri)))
    assert small.size == (320, 160)
    assert small.getpixel((10, 10))[0] > 250


@pytest.mark.parametrize(
    ("kind", "named"),
    [("WAV", "audio/wav"), ("FLAC", "audio/flac"), ("OGG", "audio/ogg"), ("MP3", "audio/mpeg")],
)
def test_sound_keeps_its_bytes_and_is_named_by_them(tmp_path, kind, named):
    path = tmp_path / "no-ending"
    soundfile.write(path, np.zeros(8000), 8000, format=kind)
    uri = embed_sound(path)
    assert uri.startswith(f"data:{named};base64,")
    assert content(uri) == path.read_bytes()


def test_web_page_that_is_called_a_sound_is_none(tmp_path):
    (tmp_path / "a.wav").write_text("<script>alert(1)</script>")
    with pytest.raises(InputError, match="browsers play"):
        embed_sound(tmp_path / "a.wav")


def test_what_cannot_be_shown_says_why(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "long.wav").write_bytes(b"RIFF" + bytes(SOUND_BYTES))
    soundfile.write(tmp_path / "a.aiff", np.zeros(80), 8000)
    items = [
        ("image", tmp_path / "absent.png"),
        ("image", tmp_path / "broken.png"),
        ("image", "name\0with nul"),
        ("image", "https://example.org/a.png"),
        ("audio", tmp_path / "long.wav"),
        ("audio", tmp_path / "a.aiff"),
        ("scent", "roses"),
    ]
    found = list(make_previews(items))
    assert {(preview.picture, preview.sound, preview.words) for preview in found} == {("", "", "")}
    parts = (
        "no such file",
        "can't be decoded",
        "no such file",
        "URL",
        "a page takes 1",
        "browsers play",
        "can't be shown",
    )
    for preview, part in zip(found, parts, strict=True):
        assert part in preview.fault


def test_text_is_shown_by_its_words():
    assert list(make_previews([("text", "some words")])) == [Preview(words="some words")]


def test_page_takes_no_more_than_so_much(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    size = next(make_previews([("image", tmp_path / "a.png")])).size
    found = list(make_previews([("image", tmp_path / "a.png")] * 3, most=2 * size))
    assert [bool(preview.picture) for preview in found] == [True, True, False]
    assert "left out" in found[2].fault


def test_limits_of_the_readers_hold(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    (found,) = make_previews([("image", tmp_path / "a.png")], limits=Limits(pixels=100))
    assert "the limit is 100" in found.fault
