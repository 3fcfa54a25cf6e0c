"""Folders as open_clip saves them, against `create_model("local-dir:...")`; no test has a network."""

from __future__ import annotations

import json
import pickle
import socket

import numpy as np
import open_clip
import pytest
import torch
from openclip_tiny import CONFIGS, TEXTS, register, save_tokenizer, save_weights
from safetensors.torch import load_file
from torch.nn.functional import normalize

import mmencode
from mmencode.errors import WeightsError
from mmencode.testing import EncoderConformance, sample_items

PREPROCESS = {"mean": [0.2, 0.3, 0.4], "std": [0.5, 0.6, 0.7], "resize_mode": "squash"}
NAMES = ["tiny-clip", "tiny-sigmoid", "tiny-coca", "tiny-hub"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("it asked for a network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder for each of the tiny models."""
    root = tmp_path_factory.mktemp("folders")
    for name in NAMES:
        folder = root / name
        folder.mkdir()
        register(root, name, CONFIGS[name])
        config = {"model_cfg": CONFIGS[name], "preprocess_cfg": PREPROCESS}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        save_weights(name, folder / "open_clip_model.safetensors")
        if name == "tiny-hub":
            save_tokenizer(folder)
    return root


@pytest.fixture
def copied(folders, tmp_path):
    """A folder of tiny-clip that a test may spoil."""
    for path in (folders / "tiny-clip").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def fails(folder):
    with pytest.raises(WeightsError) as caught:
        mmencode.load(f"openclip/local-dir:{folder}", device="cpu", dtype="float32").encode("text", ["a cat"])
    return caught.value


@pytest.mark.filterwarnings("ignore:a text is longer")
@pytest.mark.parametrize("name", NAMES)
def test_both_towers_equal_open_clips_local_dir(folders, name):
    source = f"local-dir:{folders / name}"
    model, _, transform = open_clip.create_model_and_transforms(source)
    images = sample_items("image", 3)
    with torch.inference_mode():
        text = normalize(model.eval().encode_text(open_clip.get_tokenizer(source)(TEXTS)), dim=-1)
        image = normalize(model.encode_image(torch.stack([transform(item) for item in images])), dim=-1)
    with mmencode.load(f"openclip/{source}", device="cpu", dtype="float32") as space:
        assert space.name == f"openclip/{source}"
        np.testing.assert_allclose(space.encode("text", TEXTS), text, atol=1e-5)
        np.testing.assert_allclose(space.encode("image", images), image, atol=1e-5)
        assert "mean [0.2, 0.3, 0.4]" in space.card.towers[0].identity.preprocessing


def test_folder_of_a_state_dict_is_the_same_as_of_safetensors(folders, copied):
    weights = copied / "open_clip_model.safetensors"
    torch.save(load_file(weights), copied / "open_clip_pytorch_model.bin")
    weights.unlink()
    found = [
        mmencode.load(f"openclip/local-dir:{folder}", device="cpu", dtype="float32").card.towers[0].identity
        for folder in (copied, folders / "tiny-clip")
    ]
    assert found[0] == found[1]


def test_of_several_weights_the_usual_names_are_meant_and_others_are_asked_for(copied):
    known, weights = (
        copied / "open_clip_model.safetensors",
        (copied / "open_clip_model.safetensors").read_bytes(),
    )
    for name in ("a.bin", "model.safetensors"):
        (copied / name).write_bytes(b"no weights")
    with mmencode.load(f"openclip/local-dir:{copied}", device="cpu") as space:
        assert len(space.encode("text", ["a cat"])) == 1
    known.unlink()
    (copied / "model.safetensors").unlink()
    (copied / "b.pt").write_bytes(weights)
    error = fails(copied)
    assert "a.bin, b.pt" in error.fact
    assert "open_clip_model.safetensors" in error.remedy
    (copied / "a.bin").unlink()
    with mmencode.load(f"openclip/local-dir:{copied}", device="cpu") as space:
        assert len(space.encode("text", ["a cat"])) == 1


def test_missing_folder_is_named(tmp_path):
    error = fails(tmp_path / "nothing")
    assert str(tmp_path / "nothing") in error.fact
    assert "open_clip_config.json" in error.remedy


def test_missing_config_is_named(copied):
    (copied / "open_clip_config.json").unlink()
    error = fails(copied)
    assert str(copied / "open_clip_config.json") in error.fact
    assert "put it there" in error.remedy


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("{", "can't be read: JSONDecodeError"),
        ("[]", "holds no JSON object"),
        ("{}", "describes no open_clip model"),
        ('{"model_cfg": {"embed_dim": 8, "text_cfg": {}}}', "describes no open_clip model"),
        (
            '{"model_cfg": {"embed_dim": 8, "text_cfg": {}, "vision_cfg": {"timm_model_name": "hf-hub:x"}}}',
            "from elsewhere",
        ),
    ],
)
def test_invalid_config_is_named(copied, text, fact):
    (copied / "open_clip_config.json").write_text(text)
    error = fails(copied)
    assert str(copied / "open_clip_config.json") in error.fact
    assert fact in error.fact
    assert error.remedy


def test_config_with_wrong_values_is_a_weights_error(copied):
    config = {"model_cfg": CONFIGS["tiny-clip"] | {"vision_cfg": {"layers": "many"}}}
    (copied / "open_clip_config.json").write_text(json.dumps(config))
    assert str(copied) in fails(copied).fact


def test_folder_without_weights_says_which_to_put_there(copied):
    (copied / "open_clip_model.safetensors").unlink()
    error = fails(copied)
    assert str(copied) in error.fact
    assert "open_clip_model.safetensors" in error.remedy


class Payload:
    def __reduce__(self):
        return (print, ("this pickle ran code",))


@pytest.mark.parametrize("kind", ["truncated", "another", "pickle"])
def test_bad_weights_are_named_and_no_code_runs(folders, copied, capsys, kind):
    weights = copied / "open_clip_model.safetensors"
    if kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif kind == "another":
        weights.write_bytes((folders / "tiny-coca" / weights.name).read_bytes())
    else:
        weights.unlink()
        weights = copied / "open_clip_pytorch_model.bin"
        weights.write_bytes(pickle.dumps({"state_dict": Payload()}))
    error = fails(copied)
    assert str(weights) in error.fact
    assert "whole safetensors file or state dict of this architecture" in error.remedy
    assert "this pickle ran code" not in capsys.readouterr().out


def test_missing_tokenizer_of_a_folder_says_where_to_put_it(folders, tmp_path):
    for path in (folders / "tiny-hub").glob("open_clip*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    error = fails(tmp_path)
    assert str(tmp_path / "tokenizer.json") in error.fact
    assert "beside" in error.remedy


def test_tokenizer_with_code_of_its_own_is_refused(folders, tmp_path, capsys):
    """Neither the tokenizer's settings nor the model's can ask for it to be run."""
    for path in (folders / "tiny-hub").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    text = CONFIGS["tiny-hub"]["text_cfg"] | {"tokenizer_kwargs": {"trust_remote_code": True}}
    config = {"model_cfg": CONFIGS["tiny-hub"] | {"text_cfg": text}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text("print('this tokenizer ran code')\nclass Evil: ...\n")
    settings = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(WeightsError, match="tokenizer"):
        mmencode.load(f"openclip/local-dir:{tmp_path}", device="cpu", dtype="float32").encode(
            "text", ["a cat"]
        )
    assert "ran code" not in capsys.readouterr().out


@pytest.mark.slow
class TestFolderText(EncoderConformance):
    items = ("a cat", "the dog running on the beach", "stop now", "naïve")

    @pytest.fixture(autouse=True)
    def _spec(self, folders):
        type(self).spec = mmencode.registry()[f"openclip-text/local-dir:{folders / 'tiny-hub'}"]


@pytest.mark.slow
class TestFolderImage(EncoderConformance):
    @pytest.fixture(autouse=True)
    def _spec(self, folders):
        type(self).spec = mmencode.registry()[f"openclip-image/local-dir:{folders / 'tiny-sigmoid'}"]
