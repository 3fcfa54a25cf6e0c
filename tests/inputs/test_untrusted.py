"""Damaged bytes are either read or refused as InputError; nothing else comes out of a decoder."""

from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmencode.errors import InputError
from mmencode.inputs import Limits, audio, image

RANDOM = np.random.default_rng(0)
PICTURE = Image.fromarray(RANDOM.integers(0, 255, (60, 80, 3), np.uint8))
SOUND = (RANDOM.normal(size=(4000, 2)) * 0.1).astype(np.float32)


def picture(kind):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    PICTURE.save(buffer, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}))
    return buffer.getvalue()


def sound(kind):
    buffer = io.BytesIO()
    soundfile.write(buffer, SOUND, 16000, format=kind)
    return buffer.getvalue()


SEEDS = {kind: (image.read, picture(kind)) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")}
SEEDS |= {kind: (audio.read, sound(kind)) for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF")}


@pytest.mark.parametrize("kind", SEEDS)
@settings(deadline=None, max_examples=60)
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_damaged_file_is_read_or_refused(kind, changes, kept):
    read, content = SEEDS[kind]
    damaged = bytearray(content)
    for place, value in changes:
        damaged[int(place**3 * len(damaged))] = value  # most of them in the headers
    damaged = damaged[: int(kept * len(damaged))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # decoders grumble about some of what they read
        with contextlib.suppress(InputError):
            read(bytes(damaged), Limits())


def test_chunk_that_does_not_begin_where_its_header_says_is_refused_without_a_word(monkeypatch):
    ignored = []
    monkeypatch.setattr("sys.unraisablehook", ignored.append)  # where exceptions in callbacks of C go
    damaged = sound("AIFF").replace(b"SSND", b"\0SND")
    with pytest.raises(InputError, match="can't be decoded"):
        audio.read(damaged, Limits())
    assert ignored == []
