"""The timm encoder computes what timm computes, on the same weights."""

import pickle
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config

import mmencode
from mmencode import LabelAnchored
from mmencode.encoders.timm import TimmClassifier, TimmEncoder, build, classifier
from mmencode.errors import EncoderError, UnknownNameError, WeightsError
from mmencode.testing import EncoderConformance

HEADS = ["dla46x_c", "swiftformer_xs", "repvit_m0_9"]  # a convolution, two heads, norms before two heads
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


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_local_checkpoint_gives_timms_features_whatever_its_labels(
    architecture: str, tmp_path: Path
) -> None:
    torch.manual_seed(7)
    reference = timm.create_model(architecture, num_classes=7).eval()
    save_file(reference.state_dict(), tmp_path / "mine.safetensors")
    torch.save({"state_dict": reference.state_dict()}, tmp_path / "mine.pth")
    transform = create_transform(**resolve_model_data_config(reference), is_training=False)
    with torch.inference_mode():
        pixels = transform(photo())[None]
        features = reference.forward_head(reference.forward_features(pixels), pre_logits=True)
    expected = torch.nn.functional.normalize(features, dim=1)
    for ending in ("safetensors", "pth"):
        with mmencode.load(
            f"timm/{architecture}/{tmp_path}/mine.{ending}", device="cpu", dtype="float32"
        ) as space:
            np.testing.assert_allclose(space.encode("image", [photo()]), expected, atol=1e-5)


class Payload:
    def __reduce__(self):
        return (print, ("this pickle ran code",))


@pytest.mark.parametrize("kind", ["missing", "truncated", "another", "pickle"])
def test_a_bad_checkpoint_is_a_named_error_and_no_code_runs(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / ("bad.pth" if kind == "pickle" else "bad.safetensors")
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": Payload()}))
    elif kind != "missing":
        save_file(seeded("test_vit").state_dict(), path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:3000])
    architecture = "test_resnet" if kind == "another" else "test_vit"
    with pytest.raises(WeightsError, match=r"bad\."):
        build(f"{architecture}/{path}")
    assert "this pickle ran code" not in capsys.readouterr().out


def test_a_local_checkpoint_of_an_unknown_architecture_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="test_vit"):
        build("test_vitt/mine.safetensors")


class TestLocalTimm(EncoderConformance):
    @pytest.fixture(autouse=True, scope="class")
    def _spec(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        path = tmp_path_factory.mktemp("timm") / "vit.safetensors"
        save_file(seeded("test_vit").state_dict(), path)
        type(self).spec = mmencode.registry()[f"timm/test_vit/{path}"]


@pytest.mark.parametrize(
    "architecture", ["test_vit", "test_vit3", "test_resnet", "test_convnext", "test_efficientnet"]
)
def test_tokens_fill_their_grid_with_timms_features(architecture: str) -> None:
    reference, encoder = seeded(architecture), TimmEncoder(seeded(architecture))
    tensors = encoder.collate([encoder.preprocess(photo()), encoder.preprocess(photo(300, 170))])
    transform = create_transform(**resolve_model_data_config(reference), is_training=False)
    with torch.inference_mode():
        pixels = torch.stack([transform(photo()), transform(photo(300, 170))])
        hidden = reference.forward_features(pixels)
        tokens, mask = encoder.forward_tokens(tensors)
    rows, columns = encoder.grid
    expected = hidden.flatten(2).mT if hidden.ndim == 4 else hidden[:, reference.num_prefix_tokens :]
    assert mask.all()
    assert tokens.shape[:2] == mask.shape == (2, rows * columns)
    torch.testing.assert_close(tokens, expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def both_logits(reference: torch.nn.Module, found: TimmClassifier) -> tuple[torch.Tensor, torch.Tensor]:
    """The whole model's logits of two photographs, and the head's of the encoder's features."""
    images = [photo(), photo(300, 170)]
    transform = create_transform(**resolve_model_data_config(reference), is_training=False)
    expected = reference(torch.stack([transform(image) for image in images]))
    features = found.encoder(found.encoder.collate([found.encoder.preprocess(image) for image in images]))
    return expected, found.head(features)


@pytest.mark.parametrize("architecture", [*timm.list_models("test_*"), *HEADS])
def test_head_makes_timms_logits_of_the_features(architecture: str) -> None:
    expected, logits = both_logits(seeded(architecture), TimmClassifier(seeded(architecture)))
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_labels_are_words_in_the_order_of_the_classes() -> None:
    found = TimmClassifier(seeded("test_vit"))
    assert len(found.labels) == len(found.descriptions) == 1000
    assert found.labels[:3] == ("tench", "goldfish", "great white shark")
    assert found.descriptions[1].startswith("goldfish, Carassius auratus: small golden")
    assert found.labels[134] == found.labels[517] == "crane"
    assert len(set(found.descriptions)) == 1000


@pytest.mark.parametrize("classes", [11221, 11821, 21841, 21842, 21843])
def test_every_imagenet_that_timm_knows_has_labels(classes: int) -> None:
    found = TimmClassifier(timm.create_model("test_vit", num_classes=classes))
    assert len(found.labels) == len(found.descriptions) == classes
    assert all(label and "," not in label for label in found.labels)


def test_other_classes_take_the_callers_labels() -> None:
    def small() -> torch.nn.Module:
        return timm.create_model("test_vit", num_classes=3)

    assert TimmClassifier(small(), labels=["a", "b", "c"]).labels == ("a", "b", "c")
    with pytest.raises(EncoderError, match=r"3 outputs of timm's test_vit(.|\n)*labels="):
        TimmClassifier(small())
    for wrong in (["a", "b"], "abc"):
        with pytest.raises(ValueError, match="3 classes"):
            TimmClassifier(small(), labels=wrong)


def test_model_without_a_classifier_is_a_named_error() -> None:
    with pytest.raises(EncoderError, match="test_vit has no classifier"):
        TimmClassifier(timm.create_model("test_vit", num_classes=0))


@pytest.mark.parametrize("architecture", ["deit_tiny_distilled_patch16_224", "crossvit_tiny_240"])
def test_heads_that_look_at_something_else_than_the_features_are_a_named_error(architecture: str) -> None:
    with pytest.raises(EncoderError, match=f"classifier of timm's {architecture} can't be taken"):
        TimmClassifier(seeded(architecture))


@pytest.mark.parametrize("classes", [1000, 3])
def test_local_checkpoint_with_its_classifier_gives_timms_logits(classes: int, tmp_path: Path) -> None:
    torch.manual_seed(7)
    reference = timm.create_model("test_vit", num_classes=classes).eval()
    save_file(reference.state_dict(), tmp_path / "mine.safetensors")
    found = classifier(
        f"test_vit/{tmp_path}/mine.safetensors", labels=None if classes == 1000 else list("abc")
    )
    torch.testing.assert_close(*both_logits(reference, found), rtol=1e-5, atol=1e-5)


def test_local_checkpoint_without_its_classifier_is_an_encoder_only(tmp_path: Path) -> None:
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), tmp_path / "trunk.safetensors")
    assert build(f"test_vit/{tmp_path}/trunk.safetensors").width == 64
    with pytest.raises(WeightsError, match="holds no classifier"):
        classifier(f"test_vit/{tmp_path}/trunk.safetensors")


def test_classifier_of_a_name_that_timm_lacks_gets_the_nearest_names() -> None:
    with pytest.raises(UnknownNameError, match="resnet50"):
        classifier("resnet5o")
    with pytest.raises(UnknownNameError, match="test_vit"):
        classifier("test_vitt/mine.safetensors")


@pytest.mark.parametrize("architecture", HEADS)
def test_local_checkpoint_leaves_out_all_of_a_classifier_that_is_more_than_a_matrix(
    architecture: str, tmp_path: Path
) -> None:
    reference = seeded(architecture)
    save_file(reference.state_dict(), tmp_path / "mine.safetensors")
    state = build(f"{architecture}/{tmp_path}/mine.safetensors").model.state_dict()
    assert all(torch.equal(tensor, reference.state_dict()[key]) for key, tensor in state.items())


def test_classifier_that_is_sure_lands_on_the_vector_of_its_label() -> None:
    found = TimmClassifier(seeded("test_vit"))
    anchors = torch.nn.functional.normalize(torch.randn(1000, 8, generator=torch.Generator().manual_seed(0)))
    projection = LabelAnchored(anchors, head=found.head)
    with torch.inference_mode():
        weights, target = found.head.weight, 281
        features = 1e4 * (weights[target] - weights.mean(dim=0))[None]
        similar = torch.nn.functional.normalize(projection(features)) @ anchors.T
    assert similar.argmax() == found.head(features).argmax()
    assert not projection.head.training
    assert not any(parameter.requires_grad for parameter in found.head.parameters())
