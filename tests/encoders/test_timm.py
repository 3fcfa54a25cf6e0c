"""The timm encoder computes what timm computes, on the same weights."""

import huggingface_hub.constants
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from mmencode.encoders.timm import TimmEncoder, build
from mmencode.errors import UnknownNameError, WeightsError

ARCHITECTURES = ["test_vit", "test_vit3", "test_convnext", "test_efficientnet", "test_resnet", "test_nfnet"]


def seeded(architecture: str) -> torch.nn.Module:
    torch.manual_seed(7)
    return timm.create_model(architecture).eval()


def photo(width: int = 190, height: int = 231) -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_are_those_before_timms_own_classifier(architecture: str) -> None:
    reference, encoder = seeded(architecture), TimmEncoder(seeded(architecture))
    transform = create_transform(**resolve_model_data_config(reference), is_training=False)
    images = [photo(), photo(300, 170)]
    with torch.inference_mode():
        pixels = torch.stack([transform(image) for image in images])
        expected = reference.forward_head(reference.forward_features(pixels), pre_logits=True)
        features = encoder(encoder.collate([encoder.preprocess(image) for image in images]))
    assert features.shape == (2, encoder.width)
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_classifier_stays_outside(architecture: str) -> None:
    encoder = TimmEncoder(seeded(architecture))
    assert not encoder.model.get_classifier().state_dict()
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_preprocessing_says_what_the_data_config_says() -> None:
    encoder = TimmEncoder(seeded("test_vit"))
    words = "RGB 160x160, center crop 0.95, bicubic, mean 0.5 0.5 0.5, std 0.5 0.5 0.5"
    assert encoder.preprocessing == words
    assert encoder.pooling == "timm test_vit, features before the classifier"


def test_a_data_config_of_ones_own_replaces_the_models() -> None:
    model = seeded("test_efficientnet")
    config = {**resolve_model_data_config(model), "input_size": (3, 96, 128), "mean": (0.1, 0.2, 0.3)}
    encoder = TimmEncoder(model, data_config=config)
    assert encoder.preprocess(photo())["pixels"].shape == (3, 96, 128)
    assert "mean 0.1 0.2 0.3" in encoder.preprocessing


def test_pixels_wait_as_bytes_and_are_normalised_in_the_dtype_of_the_weights() -> None:
    encoder = TimmEncoder(seeded("test_convnext")).to(torch.bfloat16)
    tensors = encoder.collate([encoder.preprocess(photo())])
    assert tensors["pixels"].dtype == torch.uint8
    assert encoder(tensors).dtype == torch.bfloat16


def test_an_unknown_architecture_gets_the_nearest_names() -> None:
    with pytest.raises(UnknownNameError, match=r"'resnet5o'.*\n.*did you mean .*resnet50"):
        build("resnet5o")


def test_an_unknown_tag_gets_the_nearest_checkpoints() -> None:
    with pytest.raises(UnknownNameError, match=r"resnet50\.a1_in1k"):
        build("resnet50.a1_in1l")


def test_an_architecture_without_weights_is_told_from_an_unknown_one() -> None:
    with pytest.raises(UnknownNameError, match="no weights for"):
        build(without_weights())


def without_weights() -> str:
    return next(name for name in timm.list_models() if not timm.is_model_pretrained(name))


def test_without_network_and_cache_the_error_says_what_it_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", "/nonexistent")
    with pytest.raises(WeightsError) as caught:
        build("test_vit")
    assert "timm/test_vit.r160_in1k" in str(caught.value)
    assert "TimmEncoder(model)" in caught.value.remedy
