"""Damaged pictures of every format are read, or refused as damaged or too large, and nothing else."""

from __future__ import annotations

import contextlib
import io
import warnings

import hostile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmencode.engine.runtime import Runtime
from mmencode.errors import InputError
from mmencode.inputs import Limits
from mmencode.inputs.image import read
from mmencode.spaces.space import Space
from mmencode.testing import fake_specs

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8))
SHADES = PICTURE.convert("L")


def encoded(kind, image=PICTURE, **options):
    return hostile.encoded(image, kind, **options)


SEEDS = {
    "JPEG": encoded("JPEG"),
    "progressive JPEG": encoded("JPEG", progressive=True),
    "several JPEGs": encoded("MPO", save_all=True, append_images=[PICTURE]),
    "PNG": encoded("PNG"),
    "animated PNG": encoded("PNG", save_all=True, append_images=[PICTURE]),
    "deep PNG": encoded("PNG", Image.fromarray(np.asarray(SHADES).astype(np.uint16) * 257)),
    "PNG with a palette": encoded("PNG", PICTURE.quantize(20), transparency=3),
    "animated GIF": encoded("GIF", save_all=True, append_images=[PICTURE.rotate(9)], disposal=2),
    "packed BMP": hostile.packed_bmp(80, 60, 1, 1),
    "plain Netpbm": b"P2\n4 4\n255\n" + b"7 " * 16,
    "lossless WebP": encoded("WEBP", lossless=True),
    "animated WebP": encoded("WEBP", save_all=True, append_images=[PICTURE.rotate(9)]),
    "packed TIFF": encoded("TIFF", compression="tiff_lzw"),
    "TIFF with a JPEG": encoded("TIFF", compression="jpeg"),
    "fax": encoded("TIFF", PICTURE.convert("1"), compression="group4"),
    "TIFF of floats": encoded("TIFF", Image.fromarray(np.asarray(SHADES) / np.float32(255)), big_tiff=True),
}
if hostile.AVIF:
    SEEDS["AVIF"] = encoded("AVIF", PICTURE.convert("RGBA"), speed=10)
with contextlib.suppress(ImportError):
    from pillow_heif import from_pillow

    with io.BytesIO() as file:
        from_pillow(PICTURE).save(file)
        SEEDS["HEIC"] = file.getvalue()
with contextlib.suppress(ImportError):
    import pillow_jxl.JpegXLImagePlugin  # noqa: F401

    SEEDS["JPEG XL"] = encoded("JXL", use_container=True)

NUMBERS = [b"\xff\xff", bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0\1\0\0", b"\0\0\1\0", b"\0\0\0\1"]
CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.binary(min_size=1, max_size=1), st.sampled_from(NUMBERS)),
    ),
    max_size=12,
)


def damaged(content, changes, kept):
    found = bytearray(content)
    for place, value in changes:
        start = int(place**3 * len(found))  # most of them in the headers
        found[start : start + len(value)] = value
    return bytes(found[: int(kept * len(found))])


def outcome(content):
    """The image that is read, or the error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # decoders grumble about some of what they read
        try:
            return read(content, Limits())
        except InputError as error:
            return error


@pytest.mark.parametrize("kind", SEEDS)
@settings(deadline=None, max_examples=60)
@given(changes=CHANGES, kept=st.one_of(st.just(1.0), st.floats(0, 1)))
def test_damaged_picture_is_read_or_refused(kind, changes, kept):
    found = outcome(damaged(SEEDS[kind], changes, kept))
    if isinstance(found, InputError):
        assert found.fault in ("content", "limit")  # never the process's, nor the disk's
        assert found.remedy
        assert " at 0x" not in str(found)
    else:
        assert found.mode == "RGB"
        assert found.width * found.height > 0


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(SEEDS)), CHANGES), min_size=1, max_size=12), st.integers(1, 4)
)
def test_damaged_pictures_among_good_ones_cost_these_nothing(items, workers):
    batch = [damaged(SEEDS[kind], changes, 1.0) for kind, changes in items]
    batch = [item for damaged_one in batch for item in (damaged_one, SEEDS["JPEG"])]
    with (
        warnings.catch_warnings(),
        Space("fake", [*fake_specs()], runtime=Runtime("cpu", workers=workers)) as space,
    ):
        warnings.simplefilter("ignore")
        found = space.encode("image", batch, on_error="skip")
        good = space.encode("image", [SEEDS["JPEG"]]).vectors[0]
    places = found.positions.tolist()
    assert sorted([*places, *(error.index for error in found.errors)]) == list(range(len(batch)))
    for place in range(1, len(batch), 2):
        np.testing.assert_array_equal(found.vectors[places.index(place)], good)
