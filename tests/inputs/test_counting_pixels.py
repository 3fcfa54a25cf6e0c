"""The pixels of a picture are counted by its header, and nothing is decoded."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from mmencode.errors import InputError
from mmencode.inputs import Limits
from mmencode.inputs.pictures import count_pixels


def file_of(kind, size=(40, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (10, 200, 30)).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF"])
def test_every_format_states_its_pixels(kind):
    assert count_pixels(file_of(kind), Limits()) == 1200


def test_a_picture_whose_pixels_are_cut_off_is_counted_by_its_header():
    assert count_pixels(file_of("JPEG", (400, 300))[:700], Limits()) == 120_000


@pytest.mark.parametrize("content", [b"", b"secret words", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"])
def test_what_is_no_picture_is_refused(content):
    with pytest.raises(InputError):
        count_pixels(content, Limits())


def test_more_pixels_than_the_limit_are_refused():
    with pytest.raises(InputError, match="1200 pixels"):
        count_pixels(file_of("PNG"), Limits(pixels=1000))
