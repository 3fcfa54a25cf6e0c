"""What a hostile open_clip checkpoint can't do: hang, read elsewhere, take more memory than its weights."""

from __future__ import annotations

import json
import os
import shutil
import socket

import pytest
import torch
from bombs import bomb
from openclip_tiny import CONFIGS, TEXT, VISION, register, save_weights

import mmencode
from mmencode.encoders import openclip
from mmencode.errors import InputError, WeightsError

NAME = "tiny-clip"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("it asked for a network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    register(folder, NAME, CONFIGS[NAME])
    save_weights(NAME, folder / "clip.safetensors")
    return folder / "clip.safetensors"


def folder_of(weights, tmp_path, model=CONFIGS[NAME], prepared=None):
    shutil.copy(weights, tmp_path / "open_clip_model.safetensors")
    config = {"model_cfg": model, "preprocess_cfg": prepared or {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    return f"local-dir:{tmp_path}"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vision_cfg": VISION | {"layers": 200_000}}, "a far larger model"),
        ({"text_cfg": TEXT | {"layers": 200_000}}, "a far larger model"),
        ({"vision_cfg": VISION | {"width": 10**9, "head_width": 10**8}}, "a far larger model"),
        ({"text_cfg": TEXT | {"vocab_size": 10**12}}, "a far larger model"),
        ({"embed_dim": 10**9}, "a far larger model"),
        ({"vision_cfg": VISION | {"image_size": 10**6}}, "image_size 1000000"),
        ({"vision_cfg": VISION | {"image_size": [32, -1]}}, "image_size -1"),
        ({"vision_cfg": VISION | {"image_size": "32"}}, "image_size '32'"),
        ({"text_cfg": TEXT | {"context_length": 10**9}}, "context_length 1000000000"),
        ({"text_cfg": TEXT | {"tokenizer_kwargs": {"bpe_path": "/dev/zero"}}}, "bpe_path"),
        ({"text_cfg": TEXT | {"tokenizer_kwargs": {"trust_remote_code": True}}}, "trust_remote_code"),
        ({"vision_cfg": VISION | {"timm_model_name": "hf-hub:someone/model"}}, "from elsewhere"),
        ({"vision_cfg": VISION | {"unknown": 1}}, "unknown"),
        ({"vision_cfg": 3}, "describes no open_clip model"),
    ],
)
def test_settings_of_another_model_end_before_it_is_built(weights, tmp_path, change, words):
    name = folder_of(weights, tmp_path, CONFIGS[NAME] | change)
    with pytest.raises(WeightsError, match=words):
        openclip.image(name)


@pytest.mark.parametrize(
    ("prepared", "words"),
    [
        ({"mean": [0.5, 0.5]}, "mean"),
        ({"std": "0.5"}, "std"),
        ({"mean": [0.5, "a", 0.5]}, "mean"),
        ({"interpolation": "cubist"}, "interpolation 'cubist'"),
        ({"resize_mode": 3}, "resize_mode 3"),
    ],
)
def test_preparation_that_is_none_is_refused(weights, tmp_path, prepared, words):
    with pytest.raises(WeightsError, match=words):
        openclip.image(folder_of(weights, tmp_path, prepared=prepared))


@pytest.mark.parametrize("file", ["open_clip_config.json", "open_clip_model.safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipe_or_device_in_a_folder_does_not_hang(weights, tmp_path, file, kind):
    name = folder_of(weights, tmp_path)
    (tmp_path / file).unlink()
    if kind == "pipe":
        os.mkfifo(tmp_path / file)
    else:
        (tmp_path / file).symlink_to("/dev/zero")
    with pytest.raises(WeightsError, match="a pipe, socket or device"):
        openclip.image(name)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("/dev/zero", "and no file"),
        ("{0}/pipe", "and no file"),
        ("{0}", "a folder"),
        ("{0}/bomb.pth", "would unpack to"),
        ("{0}/lfs.pt", "a pointer of Git LFS"),
    ],
)
def test_what_is_no_checkpoint_is_not_read(weights, tmp_path, place, words):
    os.mkfifo(tmp_path / "pipe")
    bomb(tmp_path / "bomb.pth", 2**24)
    (tmp_path / "lfs.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    path = place.format(tmp_path)
    with pytest.raises(WeightsError) as caught:
        openclip.image(f"{NAME}/{path}")
    assert repr(path) in caught.value.fact
    assert words in caught.value.fact


def test_deep_settings_are_named(weights, tmp_path):
    name = folder_of(weights, tmp_path)
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg":' + "[" * 100_000)
    with pytest.raises(WeightsError, match="nested deeper than 64 levels"):
        openclip.image(name)


@pytest.mark.parametrize("blank", ["&nbsp;", "&#160;&nbsp;", "\u00a0", " &ensp; "])
def test_text_that_is_blank_in_clip_is_an_error(weights, blank):
    with pytest.raises(InputError, match="the text is blank: the tokenizer leaves nothing of it"):
        openclip.text(f"{NAME}/{weights}").preprocess(blank)


def test_message_about_code_names_it_and_gives_no_advice_to_run_it(weights, tmp_path):
    class Payload:
        def __reduce__(self):
            return (os.getcwd, ())

    torch.save({"state_dict": {"w": torch.ones(1)}, "hyper_parameters": Payload()}, tmp_path / "lit.ckpt")
    with pytest.raises(WeightsError, match=r"posix\.getcwd") as caught:
        openclip.image(f"{NAME}/{tmp_path}/lit.ckpt")
    assert "weights_only" not in str(caught.value)
    assert "state dict" in caught.value.remedy


def test_local_weights_with_the_name_of_a_siglip_ask_no_hub_for_a_tokenizer(weights, tmp_path):
    """open_clip would fetch sentencepiece's vocabulary, for the name alone."""
    register(tmp_path, "tiny-siglip", CONFIGS[NAME])
    shutil.copy(weights, tmp_path / "w.safetensors")
    name = f"openclip/tiny-siglip/{tmp_path}/w.safetensors"
    with (
        mmencode.load(name, device="cpu") as space,
        pytest.raises(WeightsError, match=r"tiny-siglip(.|\n)*hf_tokenizer_name"),
    ):
        space.encode("text", ["a cat"])
