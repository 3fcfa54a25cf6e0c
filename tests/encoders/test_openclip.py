"""The open_clip families against open_clip itself, on tiny random weights saved locally."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from openclip_tiny import CONFIGS, TEXTS, register, save_tokenizer, save_weights
from torch.nn.functional import normalize

import mmencode
from mmencode.errors import UnknownNameError, WeightsError
from mmencode.testing import EncoderConformance, sample_items


@pytest.fixture(scope="module", autouse=True)
def architectures(tmp_path_factory):
    """Make the tiny architectures known to open_clip, each with random weights in a file."""
    folder = tmp_path_factory.mktemp("openclip")
    for name, config in CONFIGS.items():
        register(folder, name, config)
        save_weights(name, folder / f"{name}.safetensors")
    return folder


@pytest.mark.filterwarnings("ignore:a text is longer")
@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "tiny-hub"])
def test_both_towers_equal_open_clip(architectures, name):
    path = architectures / f"{name}.safetensors"
    model, _, transform = open_clip.create_model_and_transforms(name, pretrained=str(path))
    tokenizer = open_clip.get_tokenizer(name)
    images = sample_items("image", 5)
    with torch.inference_mode():
        expected_text = normalize(model.eval().encode_text(tokenizer(TEXTS)), dim=-1)
        expected_image = normalize(
            model.encode_image(torch.stack([transform(image) for image in images])), dim=-1
        )
    with mmencode.load(f"openclip/{name}/{path}", device="cpu", dtype="float32") as space:
        assert space.modalities == ("image", "text")
        np.testing.assert_allclose(space.encode("text", TEXTS), expected_text, atol=1e-5)
        np.testing.assert_allclose(space.encode("image", images), expected_image, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_loaded_model_has_every_tensor_of_open_clips(architectures, name):
    """Initial weights aren't drawn, so nothing may be left of them, and no buffer may depend on them."""
    from mmencode.encoders.openclip.source import find

    path = architectures / f"{name}.safetensors"
    expected = open_clip.create_model(name, pretrained=str(path), force_custom_text=True)
    found = find(f"{name}/{path}").model()
    for kind in ("named_parameters", "named_buffers"):
        tensors = dict(getattr(found, kind)())
        for key, tensor in getattr(expected, kind)():
            assert torch.equal(tensors.pop(key), tensor), key
        assert not tensors


@pytest.mark.parametrize(
    ("name", "cut"), [("tiny-clip", True), ("tiny-eos", True), ("tiny-coca", False), ("tiny-sigmoid", False)]
)
def test_padding_is_cut_only_where_nothing_behind_the_end_token_counts(architectures, name, cut):
    from mmencode.encoders.openclip import text

    encoder = text(f"{name}/{architectures / name}.safetensors")
    ids = encoder.preprocess("a cat")["ids"]
    assert len(ids) == (4 if cut else CONFIGS[name]["text_cfg"]["context_length"])


@pytest.fixture
def hub_tokenizer(architectures):
    """A small tokenizer beside the checkpoints, as those of SigLIP are distributed."""
    save_tokenizer(architectures)
    yield
    for path in architectures.glob("*token*"):
        path.unlink()


def test_hub_tokenizer_beside_a_local_checkpoint_is_used_and_no_hub_is_asked(architectures, hub_tokenizer):
    from open_clip.tokenizer import HFTokenizer

    path = architectures / "tiny-hub.safetensors"
    texts = ["A cat, running!", "the dog on the beach"]
    model = open_clip.create_model("tiny-hub", pretrained=str(path)).eval()
    ids = HFTokenizer(str(architectures), context_length=16, clean="canonicalize")(texts)
    assert ids[0].tolist()[:5] == [0, 4, 5, 7, 2]
    with torch.inference_mode():
        expected = normalize(model.encode_text(ids), dim=-1)
    with mmencode.load(f"openclip/tiny-hub/{path}", device="cpu", dtype="float32") as space:
        np.testing.assert_allclose(space.encode("text", texts), expected, atol=1e-5)
        with pytest.warns(UserWarning, match="longer than 16 tokens"):
            space.encode("text", ["a cat " * 10])


def test_missing_tokenizer_of_a_local_checkpoint_says_where_to_put_it(architectures):
    path = architectures / "tiny-hub.safetensors"
    with pytest.raises(WeightsError, match=r"tokenizer.json(.|\n)*beside"):
        mmencode.load(f"openclip/tiny-hub/{path}").encode("text", ["a cat"])


def test_cut_text_is_said_once(architectures):
    with mmencode.load(f"openclip/tiny-custom/{architectures}/tiny-custom.safetensors") as space:
        with pytest.warns(UserWarning, match="longer than 32 tokens") as caught:
            space.encode("text", ["word " * 90, "a cat", "word " * 80])
        assert len(caught) == 1


def test_state_dict_file_gives_the_same_space_as_safetensors(architectures):
    from safetensors.torch import load_file

    torch.save(load_file(architectures / "tiny-clip.safetensors"), architectures / "tiny-clip.pt")
    ids = []
    for ending in ("safetensors", "pt"):
        with mmencode.load(f"openclip/tiny-clip/{architectures}/tiny-clip.{ending}") as space:
            ids.append(space.card.towers[0].identity)
    assert ids[0] == ids[1]


def test_local_file_has_the_preprocessing_of_the_published_weights():
    from mmencode.encoders.openclip.source import find

    published = open_clip.pretrained.get_pretrained_cfg("ViT-B-16-SigLIP", "webli")
    path = Path(__file__).parent / "any.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "is_file", lambda self: True)
        found = find(f"ViT-B-16-SigLIP/{path}").options["force_preprocess_cfg"]
        assert find(f"tiny-clip/{path}").options["force_preprocess_cfg"] == {}
    assert found["mean"] == published["mean"] == (0.5, 0.5, 0.5)
    assert found["resize_mode"] == "squash"


def test_unknown_architecture_and_tag_say_what_there_is():
    with pytest.raises(UnknownNameError, match="did you mean ViT-B-32"):
        mmencode.load("openclip/ViT-B-33/openai").encode("text", ["a"])
    with pytest.raises(UnknownNameError, match=r"did you mean laion2b_s34b_b79k(.|\n)*its tags are openai"):
        mmencode.load("openclip/ViT-B-32/laion2b_s34b_b78k").encode("text", ["a"])
    with pytest.raises(UnknownNameError, match="its tags are openai"):
        mmencode.load("openclip/ViT-B-32/zzz").encode("text", ["a"])


class Payload:
    def __reduce__(self):
        return (print, ("this pickle ran code",))


@pytest.mark.parametrize("kind", ["missing", "truncated", "another", "pickle", "empty"])
def test_bad_checkpoint_is_a_named_error_and_no_code_runs(architectures, tmp_path, capsys, kind):
    path = tmp_path / ("bad.pt" if kind == "pickle" else "bad.safetensors")
    if kind == "truncated":
        path.write_bytes((architectures / "tiny-clip.safetensors").read_bytes()[:5000])
    elif kind == "another":
        path.write_bytes((architectures / "tiny-coca.safetensors").read_bytes())
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": Payload()}))
    elif kind == "empty":
        path.write_bytes(b"")
    with pytest.raises(WeightsError) as caught:
        mmencode.load(f"openclip/tiny-clip/{path}").encode("text", ["a"])
    assert str(path) in caught.value.fact
    wanted = "check the path" if kind == "missing" else "state dict of this architecture"
    assert wanted in caught.value.remedy
    assert "this pickle ran code" not in capsys.readouterr().out


def test_weights_that_cannot_be_fetched_say_how_to_get_them(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("open_clip.factory.download_pretrained", refuse)
    with pytest.raises(WeightsError, match=r"no network(.|\n)*load(.|\n)*local file"):
        mmencode.load("openclip/ViT-B-32/openai").encode("text", ["a"])
    monkeypatch.setattr("open_clip.factory._get_hf_config", refuse)
    with pytest.raises(WeightsError, match=r"hf-hub:org/model"):
        mmencode.load("openclip/any/hf-hub:org/model").encode("text", ["a"])


@pytest.fixture
def declared(architectures):
    return {
        spec.modality: spec
        for spec in mmencode.registry().space(f"openclip/tiny-clip/{architectures}/tiny-clip.safetensors")
    }


class TestOpenClipText(EncoderConformance):
    @pytest.fixture(autouse=True)
    def _spec(self, declared):
        type(self).spec = declared["text"]


class TestOpenClipImage(EncoderConformance):
    @pytest.fixture(autouse=True)
    def _spec(self, declared):
        type(self).spec = declared["image"]


@pytest.mark.parametrize(("name", "kind"), [("tiny-clip", "softmax"), ("tiny-sigmoid", "sigmoid")])
def test_probabilities_are_those_of_the_models_own_scale_and_bias(architectures, name, kind):
    path = architectures / f"{name}.safetensors"
    model, _, transform = open_clip.create_model_and_transforms(name, pretrained=str(path))
    labels, images = ["a cat", "a dog", "rain"], sample_items("image", 4)
    with torch.inference_mode():
        ids = open_clip.get_tokenizer(name)(labels)
        logits, _ = model.eval().get_logits(torch.stack([transform(image) for image in images]), ids)
    expected = logits.softmax(dim=1) if kind == "softmax" else logits.sigmoid()
    with mmencode.load(f"openclip/{name}/{path}", device="cpu", dtype="float32") as space:
        assert space.scoring("image").kind == kind
        classification = space.classifier(labels, ["{label}"]).classify("image", images)
        np.testing.assert_allclose(classification.probabilities(), expected, atol=1e-5)
