"""Local checkpoints of timm and torchaudio are what they compute, wherever they lie."""

from __future__ import annotations

import itertools
import os
import shutil

import numpy as np
import pytest
import timm
import torch
import torchaudio
from bombs import bomb
from safetensors.torch import load_file, save_file
from torchaudio.models import wav2vec2_model
from torchaudio.pipelines import Wav2Vec2Bundle

import mmencode
from mmencode.encoders import timm as timm_encoders
from mmencode.encoders import torchaudio as torchaudio_encoders
from mmencode.errors import WeightsError
from mmencode.testing import sample_items

PARAMETERS = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 32,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 2,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 64,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.1,
    "aux_num_out": None,
}
BUNDLES = {
    "OWN": (PARAMETERS, 16000, False),
    "OWN_AGAIN": (PARAMETERS | {"encoder_dropout": 0.0, "encoder_layer_drop": 0.0}, 16000, False),
    "OWN_HEADS": (PARAMETERS | {"encoder_num_heads": 2}, 16000, False),
    "OWN_FIRST": (PARAMETERS | {"encoder_layer_norm_first": True}, 16000, False),
    "OWN_SCALED": (PARAMETERS, 16000, True),
    "OWN_RATE": (PARAMETERS, 8000, False),
}


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("timm") / "vit.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    return path


@pytest.fixture
def bundles(monkeypatch, tmp_path_factory):
    """Make bundles known to torchaudio that the same weights fit."""
    for name, (parameters, rate, scaled) in BUNDLES.items():
        bundle = Wav2Vec2Bundle(f"{name}.pth", parameters, rate, scaled, "Wav2Vec2")
        monkeypatch.setattr(torchaudio.pipelines, name, bundle, raising=False)
    torch.manual_seed(5)
    model = wav2vec2_model(**PARAMETERS)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    path = tmp_path_factory.mktemp("torchaudio") / "own.safetensors"
    save_file(model.state_dict(), path)
    return path


def loaded(name):
    with mmencode.load(name, device="cpu", dtype="float32") as space:
        (modality,) = space.modalities
        return space.card.fingerprint, space.encode(modality, sample_items(modality, 3)).vectors


@pytest.mark.parametrize("family", ["timm/test_vit", "torchaudio/OWN"])
def test_fingerprint_is_one_wherever_and_however_a_file_lies(vit, bundles, tmp_path, monkeypatch, family):
    path = vit if "timm" in family else bundles
    monkeypatch.chdir(tmp_path)
    state = load_file(path)
    shutil.copy(path, "copy.safetensors")
    os.symlink(path, "link")
    torch.save(state, "state.pt")
    torch.save({"state_dict": {f"model.{name}": tensor for name, tensor in state.items()}}, "lit.ckpt")
    save_file({f"_orig_mod.{name}": tensor for name, tensor in state.items()}, "compiled.safetensors")
    expected, vectors = loaded(f"{family}/{path}")
    places = [
        "./copy.safetensors",
        "../" + tmp_path.name + "/link",
        "state.pt",
        "lit.ckpt",
        "compiled.safetensors",
    ]
    for place in places:
        found, others = loaded(f"{family}/{place}")
        assert found == expected, place
        assert np.array_equal(vectors, others), place


def test_bundles_of_one_computation_are_one_space_and_others_are_not(bundles):
    found = {name: loaded(f"torchaudio/{name}/{bundles}") for name in BUNDLES}
    assert found["OWN"][0] == found.pop("OWN_AGAIN")[0]
    for (one, (first, vectors)), (other, (second, others)) in itertools.combinations(found.items(), 2):
        assert not np.array_equal(vectors, others), (one, other)
        assert first != second, (one, other)


def test_published_and_local_weights_of_timm_are_one_space(vit, monkeypatch):
    """The tag says where weights come from and how images are prepared; what is computed is one."""

    def published(variant):
        model = timm.create_model(variant)
        model.load_state_dict(load_file(vit))
        return model

    monkeypatch.setattr(timm_encoders, "_load_published", published)
    prints = [loaded(f"timm/{name}")[0] for name in ("test_vit.r160_in1k", f"test_vit/{vit}")]
    assert prints[0] == prints[1]
    assert loaded(f"timm/test_vit.r160_in1k/{vit}")[0] == prints[0]


def test_preparation_that_tags_of_timm_disagree_on_is_asked_for(tmp_path):
    name = "mobilenetv4_conv_small"
    save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors")
    for build in (timm_encoders.build, timm_encoders.classifier):
        with pytest.raises(WeightsError, match=f"published weights of '{name}' differ") as caught:
            build(f"{name}/{tmp_path}/w.safetensors")
        for tag, size in (("e1200_r224_in1k", "224x224"), ("e3600_r256_in1k", "256x256")):
            assert f"timm/{name}.{tag}/{tmp_path}/w.safetensors for RGB {size}" in caught.value.remedy
        with pytest.raises(WeightsError, match=r"it lacks|holds no classifier"):
            build(f"{name}.e2400_r224_in1k/{tmp_path}/w.safetensors")


def test_weights_of_another_size_are_not_bent(vit, tmp_path):
    """timm's own loading interpolates positions."""
    state = load_file(vit)
    state["pos_embed"] = torch.randn(1, state["pos_embed"].shape[1] + 24, 64)
    save_file(state, tmp_path / "larger.safetensors")
    with pytest.raises(WeightsError) as caught:
        timm_encoders.build(f"test_vit/{tmp_path}/larger.safetensors")
    for size in (list(state["pos_embed"].shape), list(load_file(vit)["pos_embed"].shape)):
        assert str(size) in caught.value.fact


@pytest.mark.parametrize(
    "build",
    [
        lambda path: timm_encoders.build(f"test_vit/{path}"),
        lambda path: timm_encoders.classifier(f"test_vit/{path}"),
        lambda path: torchaudio_encoders.build(f"OWN/{path}"),
    ],
)
def test_pipes_devices_and_bombs_are_not_read(bundles, tmp_path, build):
    os.mkfifo(tmp_path / "pipe")
    bomb(tmp_path / "bomb.pth", 2**22)
    for path, words in (
        (tmp_path / "pipe", "a pipe, socket or device"),
        ("/dev/zero", "a pipe, socket or device"),
        (tmp_path, "a folder"),
        (tmp_path / "bomb.pth", "would unpack to"),
        (tmp_path / "lost.pt", "there is no file"),
    ):
        with pytest.raises(WeightsError, match=words):
            build(path)


def test_mean_that_differs_in_its_last_digits_is_another():
    config = {
        "input_size": (3, 160, 160),
        "crop_pct": 0.95,
        "crop_mode": "center",
        "interpolation": "bicubic",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }
    words = {
        timm_encoders.TimmEncoder(timm.create_model("test_vit"), data_config=config | change).preprocessing
        for change in (
            {},
            {"mean": (0.5000001, 0.5, 0.5)},
            {"crop_pct": 0.95000001},
            {"interpolation": "bilinear"},
        )
    }
    assert len(words) == 4
    assert "RGB 160x160, center crop 0.95, bicubic, mean 0.5 0.5 0.5, std 0.5 0.5 0.5" in words
