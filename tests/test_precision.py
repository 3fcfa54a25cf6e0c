"""The dtype that "auto" takes, and how close its vectors, and those of fast=True, stay to the exact ones."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import timm
import torch
import torchaudio
from PIL import Image
from safetensors.torch import save_file

import mmencode
from mmencode.encoders.torchaudio import TorchaudioEncoder
from mmencode.engine.runtime import Runtime
from mmencode.plugins.spec import EncoderSpec
from mmencode.projection import Linear
from mmencode.spaces.space import Space
from mmencode.testing import FakeText, sample_items

NATIVE = Runtime("cpu").dtype == torch.bfloat16
needs_bfloat16 = pytest.mark.skipif(not NATIVE, reason="this processor doesn't compute bfloat16 natively")


class Brittle(FakeText):
    """A member of a family whose features mean nothing in bfloat16."""

    def __init__(self, variant):
        super().__init__()
        self.offset = torch.nn.Parameter(torch.ones(8))

    def forward(self, tensors):
        features = super().forward(tensors) + 1000 * self.offset
        return features - 1000


class Sturdy(Brittle):
    """One that is as good in either."""

    def forward(self, tensors):
        return FakeText.forward(self, tensors) * self.offset


def space_of(target, variant="", **options):
    spec = EncoderSpec(name="test/*", modality="text", target=f"{__name__}:{target}", **options)
    runtime = Runtime("cpu")
    runtime.dtype = torch.bfloat16
    return Space("test", [spec.member("one")], runtime=runtime)


def cosines(found, exact):
    return (found.vectors * exact.vectors).sum(axis=1)


def test_family_member_that_loses_its_direction_stays_in_float32():
    with space_of("Brittle") as space, space_of("Sturdy") as sturdy:
        assert space.tower("text").dtype == torch.float32
        assert space.tower("text").encoder.offset.dtype == torch.float32
        assert sturdy.tower("text").dtype == torch.bfloat16
        assert sturdy.tower("text").encoder.offset.dtype == torch.bfloat16
        assert cosines(space.encode("text", ["a", "b"]), space.encode("text", ["a", "b"])).min() > 0.9999


@pytest.mark.parametrize("given", [True, False])
def test_family_member_that_is_built_again_is_checked_with_its_projection(given):
    spec = EncoderSpec(name="test/*", modality="text", target=f"{__name__}:Brittle").member("one")
    projections = {"text": Linear(torch.eye(4, 8), torch.zeros(4))} if given else {}
    with Space("test", [spec], projections=projections, runtime=Runtime("cpu", "float32")) as space:
        expected, (card,) = space.encode("text", ["a"]), space.card.towers
    runtime = Runtime("cpu")
    runtime.dtype = torch.bfloat16
    known = replace(spec, identity=card.identity, dim=expected.dim)
    with Space("test", [known], projections=projections, runtime=runtime) as space:
        assert space.tower("text").dtype == torch.float32
        np.testing.assert_array_equal(space.encode("text", ["a"]), expected)


@pytest.mark.parametrize("promised", [None, 0.995, 0.9999])
def test_single_encoder_is_taken_at_its_authors_word(promised):
    spec = EncoderSpec(
        name="test", modality="text", target="mmencode.testing:FakeText", dim=8, bf16_cosine=promised
    )
    runtime = Runtime("cpu")
    runtime.dtype = torch.bfloat16
    with Space("test", [spec], runtime=runtime) as space:
        expected = torch.bfloat16 if promised == 0.9999 else torch.float32
        assert space.tower("text").dtype == expected


def built_in(name, folder):
    """One small encoder of a built-in family, with random weights in a file."""
    torch.manual_seed(0)
    path = folder / f"{name}.safetensors"
    save_file(timm.create_model(name).state_dict(), path)
    return f"timm/{name}/{path}"


@needs_bfloat16
@pytest.mark.parametrize(
    "name", ["test_vit", "test_resnet", "test_convnext", "test_efficientnet", "resnet18.a1_in1k"]
)
def test_timm_keeps_its_direction_in_what_auto_takes(name, tmp_path):
    name, items = built_in(name, tmp_path), sample_items("image", 12)
    with (
        mmencode.load(name, device="cpu") as auto,
        mmencode.load(name, device="cpu", dtype="float32") as exact,
    ):
        assert cosines(auto.encode("image", items), exact.encode("image", items)).min() >= 0.9999


@needs_bfloat16
def test_open_clip_keeps_its_direction_in_what_auto_takes(tmp_path):
    config = {
        "embed_dim": 256,
        "vision_cfg": {"image_size": 64, "layers": 4, "width": 256, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 256, "heads": 4, "layers": 4},
    }
    torch.manual_seed(0)
    model = open_clip.CLIP(**config)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    name = f"openclip/local-dir:{tmp_path}"
    with (
        mmencode.load(name, device="cpu") as auto,
        mmencode.load(name, device="cpu", dtype="float32") as exact,
    ):
        for modality in ("text", "image"):
            items = sample_items(modality, 12)
            assert auto.tower(modality).dtype == torch.bfloat16
            assert cosines(auto.encode(modality, items), exact.encode(modality, items)).min() >= 0.9999


def wav2vec2():
    """Two layers of wav2vec 2.0, of full width."""
    torch.manual_seed(0)
    model = torchaudio.models.wav2vec2_base()
    model.encoder.transformer.layers = model.encoder.transformer.layers[:2]
    return TorchaudioEncoder(model.eval(), rate=16000)


@needs_bfloat16
def test_torchaudio_keeps_its_direction_in_bfloat16():
    spec = EncoderSpec(
        name="test", modality="audio", target=f"{__name__}:wav2vec2", dim=768, bf16_cosine=0.9999
    )
    items = sample_items("audio", 6)
    with Space("test", [spec], runtime=Runtime("cpu")) as auto:
        assert auto.tower("audio").dtype == torch.bfloat16
        exact = Space("test", [spec], runtime=Runtime("cpu", "float32")).encode("audio", items)
        assert cosines(auto.encode("audio", items), exact).min() >= 0.9999


@needs_bfloat16
@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_default_space_keeps_its_direction_in_what_auto_takes(modality):
    pytest.importorskip("mmencode_offline")
    items = sample_items(modality, 12)
    with mmencode.load(device="cpu") as auto, mmencode.load(device="cpu", dtype="float32") as exact:
        if modality not in auto.modalities:
            pytest.skip("the audio extra isn't installed")
        assert cosines(auto.encode(modality, items), exact.encode(modality, items)).min() >= 0.9999


def large_jpeg(seed):
    """A smooth photograph-like picture of 1600 x 1200."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((1600, 1200), Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
    return file.getvalue()


def test_fast_decoding_keeps_the_direction(tmp_path):
    items = [large_jpeg(seed) for seed in range(6)]
    name = built_in("test_vit", tmp_path)
    with (
        mmencode.load(name, dtype="float32") as exact,
        mmencode.load(name, dtype="float32", fast=True) as fast,
    ):
        found, expected = fast.encode("image", items), exact.encode("image", items)
        assert found.space == expected.space
        assert 0.9995 <= cosines(found, expected).min() < 1
        small = [Image.new("RGB", (60, 40), "teal")]
        np.testing.assert_array_equal(fast.encode("image", small), exact.encode("image", small))
