"""A VAE is what it computes, wherever its folder lies; a hostile one is refused before it costs anything."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mmencode
from mmencode.errors import UnknownNameError, WeightsError
from mmencode.testing import sample_items

diffusers = pytest.importorskip("diffusers", reason="diffusers isn't installed: pip install diffusers")
from mmencode_diffusers.vae import encoder  # noqa: E402


def tiny_vae(folder: Path, **changes: Any) -> Path:
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    diffusers.AutoencoderKL(
        **{"block_out_channels": (8, 16), "norm_num_groups": 4, "latent_channels": 4, "sample_size": 16}
        | blocks
        | changes
    ).save_pretrained(folder)
    return folder


def fingerprint_and_vectors(name: str) -> tuple[str, Any]:
    with mmencode.load(name, device="cpu", dtype="float32") as space:
        return space.card.fingerprint, space.encode("image", sample_items("image", 2)).vectors


def test_a_vae_is_one_wherever_its_folder_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_vae(tmp_path / "here")
    shutil.copytree("here", "pipeline/vae")
    Path("link").symlink_to("here")
    expected, vectors = fingerprint_and_vectors(f"vae/{tmp_path}/here@32")
    for place in ("here", "./here/", "link", "pipeline", "pipeline/../here", f"{tmp_path}/pipeline/vae"):
        found, others = fingerprint_and_vectors(f"vae/{place}@32")
        assert found == expected, place
        assert np.array_equal(vectors, others), place
    assert fingerprint_and_vectors("vae/here@64")[0] != expected


def test_vaes_of_the_same_weights_that_compute_something_else_are_others(tmp_path: Path) -> None:
    tiny_vae(tmp_path / "plain")
    prints = {fingerprint_and_vectors(f"vae/{tmp_path}/plain@32")[0]}
    for number, change in enumerate(({"act_fn": "relu"}, {"norm_num_groups": 2}, {"scaling_factor": 2.0})):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "plain", folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | change | {"_name_or_path": "/x"}))
        prints.add(fingerprint_and_vectors(f"vae/{folder}@32")[0])
    assert len(prints) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layers_per_block": 200_000}, "a far larger model"),
        ({"block_out_channels": [10**9, 10**9], "norm_num_groups": 1}, "a far larger model"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"auto_map": {"a": "b"}}, "code of its own"),
    ],
)
def test_settings_of_another_vae_end_before_it_is_built(tmp_path: Path, change: Any, words: str) -> None:
    config = json.loads((tiny_vae(tmp_path / "vae") / "config.json").read_text())
    (tmp_path / "vae" / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(WeightsError, match=words):
        encoder(str(tmp_path / "vae"))


def test_index_of_shards_is_not_followed(tmp_path: Path) -> None:
    tiny_vae(tmp_path / "vae")
    index = {"metadata": {}, "weight_map": {"a": "../../outside.safetensors"}}
    (tmp_path / "vae" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="shards"):
        encoder(str(tmp_path / "vae"))


@pytest.mark.parametrize("file", ["config.json", "diffusion_pytorch_model.safetensors"])
def test_pipe_in_a_folder_does_not_hang(tmp_path: Path, file: str) -> None:
    tiny_vae(tmp_path / "vae")
    (tmp_path / "vae" / file).unlink()
    os.mkfifo(tmp_path / "vae" / file)
    with pytest.raises(WeightsError, match=file):
        encoder(str(tmp_path / "vae"))


def test_size_that_would_take_all_memory_is_refused(tmp_path: Path) -> None:
    tiny_vae(tmp_path / "vae")
    with pytest.raises(UnknownNameError, match="of 1000000 pixels"):
        encoder(f"{tmp_path}/vae@1000000")
