"""Slender pictures are resized within bounds, to the pixels that an unbounded resize gives."""

from __future__ import annotations

import resource
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.transforms import ResizeKeepRatio
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from mmencode.encoders.pixels import fit_to_crop, fit_to_resize, fit_to_squeeze
from mmencode.engine.runtime import Runtime
from mmencode.errors import InputError
from mmencode.plugins.spec import EncoderSpec
from mmencode.spaces.space import Space

RANDOM = np.random.default_rng(0)


def noise(width, height):
    return Image.fromarray(RANDOM.integers(0, 256, (height, width, 3), np.uint8))


def transforms(size, crop):
    for resize in (Resize(size, InterpolationMode.BICUBIC), ResizeKeepRatio((size, size))):
        yield Compose([resize, CenterCrop(crop)])


@pytest.mark.parametrize("size", [(1, 1), (640, 480), (1, 128), (250, 2), (4000, 32)])
def test_ordinary_picture_stays_as_it_is(size):
    image = noise(*size)
    assert fit_to_crop(image) is image


@pytest.mark.parametrize(("size", "crop"), [(32, 28), (33, 33), (48, 41)])
@pytest.mark.parametrize("shape", [(1, 130), (1, 1001), (2, 702), (131, 1), (2000, 1), (1601, 4)])
def test_slender_picture_becomes_the_same_pixels(shape, size, crop):
    image = noise(*shape)
    fitted = fit_to_crop(image)
    assert max(fitted.size) <= 132 * min(fitted.size)
    for transform in transforms(size, crop):
        if size * max(shape) % min(shape):
            continue
        np.testing.assert_array_equal(np.asarray(transform(fitted)), np.asarray(transform(image)))


@pytest.mark.parametrize("shape", [(3, 901), (5, 1501), (7, 2101), (1403, 10)])
def test_slender_picture_whose_sides_come_out_uneven_becomes_nearly_the_same(shape):
    image = noise(*shape)
    for transform in transforms(33, 33):
        found, expected = (np.asarray(transform(each)).astype(int) for each in (fit_to_crop(image), image))
        assert np.abs(found - expected).max() <= 2
        assert (found != expected).mean() < 0.03


def test_picture_that_is_squeezed_or_resized_whole_has_bounded_sides():
    image = noise(1, 2**20)
    assert fit_to_squeeze(image) is image
    with pytest.raises(InputError, match="1 x 1048577") as caught:
        fit_to_squeeze(noise(1, 2**20 + 1))
    assert caught.value.fault == "limit"
    with pytest.raises(InputError, match="up to 128 times"):
        fit_to_resize(noise(1, 129))


def encoder_of(architecture, **config):
    import timm

    from mmencode.encoders.timm import TimmEncoder

    return TimmEncoder(timm.create_model(architecture), data_config={**CONFIG, **config})


CONFIG = {
    "input_size": (3, 32, 32),
    "crop_pct": 0.875,
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
}


def cropping():
    return encoder_of("test_efficientnet", crop_mode="center")


def squeezing():
    return encoder_of("test_efficientnet", crop_mode="squash")


def space_of(build):
    spec = EncoderSpec(name="slender", modality="image", target=f"{__name__}:{build.__name__}", dim=256)
    return Space("slender", [spec], runtime=Runtime("cpu"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks of memory are counted as Linux does")
def test_picture_of_one_by_a_million_is_encoded_in_little_memory():
    space = space_of(cropping)
    picture = np.zeros((3_000_000, 1, 3), np.uint8)
    picture[1_499_900:1_500_100] = RANDOM.integers(0, 256, (200, 1, 3))
    space.encode("image", [picture[:100]])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = space.encode("image", [picture])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kibibytes; it were 3 GB
    expected = space.encode("image", [picture[1_499_900:1_500_100]])
    np.testing.assert_allclose(found.vectors, expected.vectors, atol=1e-6)


def test_picture_too_long_to_squeeze_is_named_among_others():
    space = space_of(squeezing)
    found = space.encode("image", [noise(9, 9), np.zeros((2**21, 1), np.uint8), noise(8, 9)], on_error="skip")
    assert found.positions.tolist() == [0, 2]
    assert found.errors[0].index == 1
    assert found.errors[0].source == "numpy.ndarray object"
    assert "1 x 2097152" in found.errors[0].fact


def test_preprocessing_of_slender_pictures_gives_the_size_that_the_network_takes():
    assert cropping().preprocess(noise(1, 5000))["pixels"].shape == (3, 32, 32)
    assert cropping().preprocess(noise(5000, 1))["pixels"].dtype == torch.uint8
