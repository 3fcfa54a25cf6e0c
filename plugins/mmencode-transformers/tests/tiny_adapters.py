"""Small random PEFT adapters over the checkpoints in tiny, as peft and sentence-transformers save them."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers as hf

LINEAR = ["query", "value"]
# What peft can be told about a LoRA of BERT, and the vectors depend on.
WAYS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": LINEAR},
    "rslora": {"target_modules": LINEAR, "use_rslora": True},
    "patterns": {
        "target_modules": [*LINEAR, "dense"],
        "rank_pattern": {"query": 3, r"layer\.1\.output\.dense": 5},
        "alpha_pattern": {"value": 11, "layer.0.attention.output.dense": 2},
    },
    "bias": {"target_modules": LINEAR, "bias": "all"},
    "bias of lora": {"target_modules": LINEAR, "bias": "lora_only"},
    "own bias": {"target_modules": LINEAR, "lora_bias": True},
    "modules": {"target_modules": LINEAR, "modules_to_save": ["LayerNorm"]},
    "embeddings": {"target_modules": ["word_embeddings", "query"]},
    "dora": {"target_modules": [*LINEAR, "dense"], "use_dora": True},
    "regex": {"target_modules": r".*layer\.1.*(query|dense)", "exclude_modules": r".*output.*"},
    "layers": {"target_modules": LINEAR, "layers_to_transform": [1], "layers_pattern": "layer"},
}


def adapted(base: Path, kind: Any = hf.AutoModel, **options: Any) -> Any:
    """A model with a random adapter in it, by peft."""
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = kind.from_pretrained(base)
        made = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 6, **options})).eval()
        with torch.no_grad():
            for parameter in made.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
    return made


def save(base: Path, folder: Path, kind: Any = hf.AutoModel, **options: Any) -> Any:
    """Save a random adapter over a base as peft does, and give the model with it merged, by peft."""
    made = adapted(base, kind, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft takes the bias of a LoRA for one that was cut off
        made.save_pretrained(folder)
    return made.merge_and_unload()


def sentence(base: Path, folder: Path) -> Any:
    """Save a sentence encoder with an adapter in its Transformer's folder, and give it with that merged.

    sentence-transformers leaves saving to transformers, which writes what peft does, and no config.json.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer

    merged = save(base, folder / "adapter", target_modules=LINEAR)
    merged.save_pretrained(folder / "merged")
    copy_tokenizer(base, folder / "merged")
    modules = [Transformer(str(folder / "merged")), Pooling(32), Normalize()]
    whole = SentenceTransformer(modules=modules, device="cpu", prompts={"query": "query: "})
    whole.save_pretrained(str(folder / "st"), create_model_card=False)
    for file in ("config.json", "model.safetensors"):
        (folder / "st" / file).unlink()
    for file in (folder / "adapter").glob("adapter_*"):
        shutil.copy(file, folder / "st")
    return whole


def copy_tokenizer(folder: Path, to: Path) -> None:
    for file in folder.glob("tokenizer*"):
        shutil.copy(file, to)


def rewrite(folder: Path, **changes: Any) -> Path:
    """Change the settings of an adapter."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))
