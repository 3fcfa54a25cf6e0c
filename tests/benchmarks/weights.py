"""Random weights of real size, given to every side in its own format, so that all compute one function."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor

from mmencode.encoders.torchaudio import TorchaudioEncoder

ARCHITECTURE = "ViT-B-32"
HEADS = {"text": 8, "image": 12}
_AUDIO: dict[str, Any] = {}


def clip(folder: Path) -> tuple[Any, Path]:
    """An open_clip model with random weights, and the file they are saved in."""
    torch.manual_seed(0)
    model = open_clip.create_model(ARCHITECTURE).eval()
    path = folder / "clip.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return model, path


def to_transformers(model: Any, folder: Path, settings: dict[str, Any] | None = None) -> Path:
    """The same model as transformers and sentence-transformers load it, with its tokenizer.

    `settings` are open_clip's of another architecture.
    """
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    settings = settings or open_clip.get_model_config(ARCHITECTURE)
    text, vision = settings["text_cfg"], settings["vision_cfg"]
    config = CLIPConfig(
        projection_dim=settings["embed_dim"],
        text_config={
            **_sizes(text["width"], text["layers"], text["heads"]),
            "eos_token_id": 49407,
            "bos_token_id": 49406,
        },
        vision_config={
            **_sizes(vision["width"], vision["layers"], vision["width"] // vision.get("head_width", 64)),
            "patch_size": vision["patch_size"],
        },
    )
    theirs = CLIPModel(config).eval()
    theirs.load_state_dict(_renamed(model.state_dict()), strict=False)
    theirs.save_pretrained(folder)
    vocabulary, merges = _vocabulary()
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]), encoding="utf-8")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    CLIPProcessor(CLIPImageProcessor(image_mean=mean, image_std=std), tokenizer).save_pretrained(folder)
    return folder


def _sizes(width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "hidden_act": "gelu",
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }


def audio() -> TorchaudioEncoder:
    """A wav2vec 2.0 of base size with the random weights of `transformers_audio`."""
    from torchaudio.models.wav2vec2.utils import import_huggingface_model

    model = import_huggingface_model(transformers_audio()).eval()
    return TorchaudioEncoder(model, rate=16000, seconds=30.0)


def transformers_audio(**smaller: Any) -> Any:
    """The same for transformers, made once; `smaller` are settings of a smaller one, for the first call."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    if not _AUDIO:
        torch.manual_seed(0)
        _AUDIO["model"] = Wav2Vec2Model(Wav2Vec2Config(**smaller)).eval()
    return _AUDIO["model"]


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {
        "logit_scale": state["logit_scale"],
        "text_projection.weight": state["text_projection"].T.contiguous(),
        "visual_projection.weight": state["visual.proj"].T.contiguous(),
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": state["visual.positional_embedding"],
        **_both(state, "ln_final", "text_model.final_layer_norm"),
        **_both(state, "visual.ln_pre", "vision_model.pre_layrnorm"),
        **_both(state, "visual.ln_post", "vision_model.post_layernorm"),
    }
    for ours, theirs in (("transformer", "text_model"), ("visual.transformer", "vision_model")):
        layer = 0
        while f"{ours}.resblocks.{layer}.ln_1.weight" in state:
            found |= _layer(state, f"{ours}.resblocks.{layer}", f"{theirs}.encoder.layers.{layer}")
            layer += 1
    return found


def _layer(state: dict[str, Tensor], ours: str, theirs: str) -> dict[str, Tensor]:
    found = {}
    for kind in ("weight", "bias"):
        parts = state[f"{ours}.attn.in_proj_{kind}"].chunk(3)
        for name, part in zip(("q_proj", "k_proj", "v_proj"), parts, strict=True):
            found[f"{theirs}.self_attn.{name}.{kind}"] = part.contiguous()
    for mine, other in (
        ("attn.out_proj", "self_attn.out_proj"),
        ("ln_1", "layer_norm1"),
        ("ln_2", "layer_norm2"),
        ("mlp.c_fc", "mlp.fc1"),
        ("mlp.c_proj", "mlp.fc2"),
    ):
        found |= _both(state, f"{ours}.{mine}", f"{theirs}.{other}")
    return found


def _both(state: dict[str, Tensor], ours: str, theirs: str) -> dict[str, Tensor]:
    return {f"{theirs}.{kind}": state[f"{ours}.{kind}"] for kind in ("weight", "bias")}


def _vocabulary() -> tuple[dict[str, int], list[str]]:
    """CLIP's vocabulary and merges from the file that open_clip ships, as its SimpleTokenizer reads it."""
    from open_clip.tokenizer import bytes_to_unicode, default_bpe

    with gzip.open(default_bpe()) as file:
        lines = file.read().decode("utf-8").split("\n")
    merges = lines[1 : 49152 - 256 - 2 + 1]
    characters = list(bytes_to_unicode().values())
    words = characters + [f"{character}</w>" for character in characters]
    words += ["".join(merge.split()) for merge in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return {word: number for number, word in enumerate(words)}, merges
