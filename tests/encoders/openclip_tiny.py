"""Tiny open_clip models with random weights, and a tiny tokenizer, for the tests beside."""

from __future__ import annotations

import json

import open_clip
import torch
from safetensors.torch import save_file

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
CONFIGS["tiny-hub"] = CONFIGS["tiny-sigmoid"] | {
    "text_cfg": CONFIGS["tiny-sigmoid"]["text_cfg"]
    | {"hf_tokenizer_name": "nobody/nothing", "vocab_size": 99}
}
CAUSAL = CONFIGS["tiny-custom"]
CONFIGS["tiny-bias"] = CAUSAL | {"text_cfg": CAUSAL["text_cfg"] | {"proj_bias": True}}
CONFIGS["tiny-none"] = CAUSAL | {"embed_dim": 64, "text_cfg": CAUSAL["text_cfg"] | {"proj_type": "none"}}
CONFIGS["tiny-last"] = CAUSAL | {"text_cfg": CAUSAL["text_cfg"] | {"pool_type": "last"}}
SHORT = TEXT | {"context_length": 16, "vocab_size": 49408}
CONFIGS["tiny-resnet"] = {
    "embed_dim": 48,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "text_cfg": SHORT,
}
CONFIGS["tiny-timm-vit"] = {
    "embed_dim": 48,
    "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "", "image_size": 160},
    "text_cfg": SHORT,
}
CONFIGS["tiny-timm-convnext"] = {
    "embed_dim": 48,
    "vision_cfg": {"timm_model_name": "test_convnext", "timm_pool": "avg", "image_size": 160},
    "text_cfg": SHORT,
}
TEXTS = [
    "a cat",
    "Stop!! Now!",
    "A dog, running!  On the beach.",
    "x " * 200,
    "naïve café 🙂",
    "one two three four five six",
]


def register(folder, name, config):
    """Make an architecture known to open_clip."""
    (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{name}.json")


def save_weights(name, path):
    """Random weights of an architecture; layers that begin at zero count, too."""
    torch.manual_seed(0)
    model = open_clip.create_model(name, pretrained_text=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)


def save_tokenizer(folder, **options):
    """A small tokenizer of transformers, with roberta's marks of start and end."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<s>", "<pad>", "</s>", "<unk>", "a", "cat", "dog", "running", "on", "the", "beach"]
    words += ["stop", "now", "naïve"]
    tokenizer = Tokenizer(models.WordLevel({word: id for id, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    marks = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>"}
    marks = {f"{name}_token": mark for name, mark in marks.items()} | options
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
