"""The open_clip families against open_clip itself, on tiny random weights saved locally."""

from __future__ import annotations

import json
import pickle

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import normalize

import mmencode
from mmencode.errors import EncoderError, UnknownNameError, WeightsError
from mmencode.testing import EncoderConformance, sample_items

VISION = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
CONFIGS = {
    "tiny-clip": {"embed_dim": 48, "vision_cfg": VISION, "text_cfg": TEXT},
    "tiny-custom": {
        "embed_dim": 48,
        "custom_text": True,
        "vision_cfg": VISION | {"pool_type": "avg", "final_ln_after_pool": True},
        "text_cfg": TEXT | {"context_length": 32, "pool_type": "argmax"},
    },
    "tiny-eos": {
        "embed_dim": 48,
        "custom_text": True,
        "vision_cfg": VISION,
        "text_cfg": TEXT | {"pool_type": "eos", "eos_id": 49407},
    },
    "tiny-sigmoid": {  # SigLIP's kind of towers: canonicalised, fully padded text, pooled at the last place
        "embed_dim": 64,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": VISION | {"pool_type": "avg"},
        "text_cfg": TEXT
        | {
            "context_length": 16,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "tokenizer_kwargs": {"clean": "canonicalize"},
        },
    },
    "tiny-coca": {
        "embed_dim": 48,
        "custom_text": True,
        "multimodal_cfg": {"width": 64, "context_length": 76, "layers": 1, "heads": 2, "vocab_size": 49408},
        "vision_cfg": VISION | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": TEXT | {"context_length": 76, "embed_cls": True, "output_tokens": True},
    },
}
TEXTS = [
    "a cat",
    "Stop!! Now!",
    "A dog, running!  On the beach.",
    "x " * 200,
    "naïve café 🙂",
    "one two three four five six",
]


CONFIGS["tiny-hub"] = CONFIGS["tiny-sigmoid"] | {
    "text_cfg": CONFIGS["tiny-sigmoid"]["text_cfg"]
    | {"hf_tokenizer_name": "nobody/nothing", "vocab_size": 99}
}
CAUSAL = CONFIGS["tiny-custom"]
CONFIGS["tiny-bias"] = CAUSAL | {"text_cfg": CAUSAL["text_cfg"] | {"proj_bias": True}}
CONFIGS["tiny-none"] = CAUSAL | {"embed_dim": 64, "text_cfg": CAUSAL["text_cfg"] | {"proj_type": "none"}}


@pytest.fixture(scope="module", autouse=True)
def architectures(tmp_path_factory):
    """Make the tiny architectures known to open_clip, each with random weights in a file."""
    folder = tmp_path_factory.mktemp("openclip")
    for name, config in CONFIGS.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(folder / f"{name}.json")
        torch.manual_seed(0)
        model = open_clip.create_model(name)
        with torch.no_grad():
            for parameter in model.parameters():  # layers that begin at zero must count, too
                parameter.add_(torch.randn_like(parameter) * 0.02)
        save_file(
            {key: value.contiguous() for key, value in model.state_dict().items()},
            folder / f"{name}.safetensors",
        )
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
    with mmencode.load(f"openclip/{name}/{path}", device="cpu") as space:
        assert space.modalities == ("image", "text")
        np.testing.assert_allclose(space.encode("text", TEXTS), expected_text, atol=1e-5)
        np.testing.assert_allclose(space.encode("image", images), expected_image, atol=1e-5)


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
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", "a", "cat", "dog", "running", "on", "the", "beach"]
    tokenizer = Tokenizer(models.WordLevel({word: id for id, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    fast.save_pretrained(architectures)
    yield
    for path in architectures.glob("*token*"):
        path.unlink()


def test_hub_tokenizer_beside_a_local_checkpoint_is_used_and_no_hub_is_asked(architectures, hub_tokenizer):
    from open_clip.tokenizer import HFTokenizer

    path = architectures / "tiny-hub.safetensors"
    texts = ["A cat, running!", "the dog on the beach"]
    model = open_clip.create_model("tiny-hub", pretrained=str(path)).eval()
    ids = HFTokenizer(str(architectures), context_length=16, clean="canonicalize")(texts)
    assert ids[0].tolist()[:3] == [2, 3, 5]
    with torch.inference_mode():
        expected = normalize(model.encode_text(ids), dim=-1)
    with mmencode.load(f"openclip/tiny-hub/{path}", device="cpu") as space:
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
    from mmencode.encoders.openclip import _local

    published = open_clip.pretrained.get_pretrained_cfg("ViT-B-16-SigLIP", "webli")
    found = _local("ViT-B-16-SigLIP", __file__)["force_preprocess_cfg"]
    assert found["mean"] == published["mean"] == (0.5, 0.5, 0.5)
    assert found["resize_mode"] == "squash"
    assert _local("tiny-clip", __file__)["force_preprocess_cfg"] == {}


def test_unknown_architecture_and_tag_say_what_there_is():
    with pytest.raises(UnknownNameError, match="did you mean ViT-B-32"):
        mmencode.load("openclip/ViT-B-33/openai").encode("text", ["a"])
    with pytest.raises(UnknownNameError, match="laion2b_s34b_b79k"):
        mmencode.load("openclip/ViT-B-32/laion3b").encode("text", ["a"])


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
    with pytest.raises(WeightsError, match=r"bad\.") as caught:
        mmencode.load(f"openclip/tiny-clip/{path}").encode("text", ["a"])
    assert "local file" in caught.value.remedy or "check the path" in caught.value.remedy
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


@pytest.mark.filterwarnings("ignore:a text is longer")
def test_tokens_equal_open_clips_intermediates(architectures):
    path = architectures / "tiny-clip.safetensors"
    model, _, transform = open_clip.create_model_and_transforms("tiny-clip", pretrained=str(path))
    ids = open_clip.get_tokenizer("tiny-clip")(TEXTS)
    images = sample_items("image", 3)
    with torch.inference_mode():
        found = model.eval().forward_intermediates(
            torch.stack([transform(image) for image in images]),
            ids,
            image_indices=1,
            text_indices=1,
            normalize_intermediates=True,
            image_output_fmt="NLC",
        )
    with mmencode.load(f"openclip/tiny-clip/{path}", device="cpu") as space:
        patches = space.encode_tokens("image", images)
        assert patches.grid == (2, 2)
        np.testing.assert_allclose(np.stack(patches), found["image_intermediates"][-1], atol=1e-5)
        tokens = space.encode_tokens("text", TEXTS)
        for row, array in enumerate(tokens):
            assert len(array) == int(ids[row].argmax()) + 1
            np.testing.assert_allclose(array, found["text_intermediates"][-1][row, : len(array)], atol=1e-5)


def test_towers_without_tokens_say_so(architectures):
    with (
        mmencode.load(f"openclip/tiny-sigmoid/{architectures}/tiny-sigmoid.safetensors") as space,
        pytest.raises(EncoderError, match="attends to padding"),
    ):
        space.encode_tokens("text", ["a cat"])


@pytest.mark.parametrize(("name", "kind"), [("tiny-clip", "softmax"), ("tiny-sigmoid", "sigmoid")])
def test_probabilities_are_those_of_the_models_own_scale_and_bias(architectures, name, kind):
    path = architectures / f"{name}.safetensors"
    model, _, transform = open_clip.create_model_and_transforms(name, pretrained=str(path))
    labels, images = ["a cat", "a dog", "rain"], sample_items("image", 4)
    with torch.inference_mode():
        ids = open_clip.get_tokenizer(name)(labels)
        logits, _ = model.eval().get_logits(torch.stack([transform(image) for image in images]), ids)
    expected = logits.softmax(dim=1) if kind == "softmax" else logits.sigmoid()
    with mmencode.load(f"openclip/{name}/{path}", device="cpu") as space:
        assert space.scoring("image").kind == kind
        classification = space.classifier(labels, ["{label}"]).classify("image", images)
        np.testing.assert_allclose(classification.probabilities(), expected, atol=1e-5)
