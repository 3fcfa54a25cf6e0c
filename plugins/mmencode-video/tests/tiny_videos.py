"""Small random checkpoints of X-CLIP, V-JEPA 2 and VideoPrism, saved as save_pretrained saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "a dog",
    "A video of a red car on the road, near the quiet harbour.",
    "thunder",
    "Two children fly a kite; an old man repairs his boat under the bridge, and nobody sees them. " * 3,
]
_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def _random(model: Any) -> Any:
    """Give a model weights that are the same each time, and large enough for its outputs to differ."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for name, parameter in model.eval().named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.02)
            elif "norm" not in name.lower() and parameter.ndim > 1:
                parameter.normal_(0, 0.15)
    return model


def _tokenizer(marks: list[str], template: str, **names: Any) -> Any:
    made = Tokenizer(models.BPE(unk_token=None))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=marks[:-1], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(TEXTS, trainer)
    made.add_special_tokens(marks[-1:])  # the highest id, as CLIP's end of a text
    if template:
        special = [(mark, made.token_to_id(mark)) for mark in marks if mark in template]
        made.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    return hf.PreTrainedTokenizerFast(tokenizer_object=made, **names)


def xclip(folder: Path) -> None:
    config = hf.XCLIPConfig(
        text_config={**_SMALL, "vocab_size": 320, "max_position_embeddings": 24, "eos_token_id": 2},
        vision_config={
            **_SMALL,
            **{"image_size": 32, "patch_size": 16, "num_frames": 4, "mit_hidden_size": 24},
            **{"mit_intermediate_size": 32, "mit_num_hidden_layers": 1, "mit_num_attention_heads": 4},
        },
        projection_dim=24,
        prompt_num_attention_heads=4,
        prompt_layers=1,
    )
    _random(hf.XCLIPModel(config)).save_pretrained(folder)
    hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    _tokenizer(
        ["<unk>", "<|start|>", "<|end|>"],
        "<|start|> $A <|end|>",
        bos_token="<|start|>",
        eos_token="<|end|>",
        pad_token="<|end|>",
        model_max_length=24,
    ).save_pretrained(folder)


def vjepa2(folder: Path, kind: Any = None) -> None:
    config = hf.VJEPA2Config(
        **{"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 16},
        **{"crop_size": 32, "frames_per_clip": 4, "pred_hidden_size": 24, "pred_num_attention_heads": 2},
        **{"pred_num_hidden_layers": 1, "num_pooler_layers": 1, "mlp_ratio": 2.0},
    )
    _random((kind or hf.VJEPA2Model)(config)).save_pretrained(folder)
    hf.VJEPA2VideoProcessor(crop_size=32).save_pretrained(folder)


def _prism() -> dict[str, Any]:
    return {
        **{"image_size": 36, "num_frames": 4, "tubelet_size": [1, 18, 18], "hidden_size": 32},
        **{"num_attention_heads": 4, "intermediate_size": 48, "num_spatial_layers": 1},
        **{"num_temporal_layers": 1, "num_auxiliary_layers": 1},
    }


def videoprism(folder: Path) -> None:
    text = {**_SMALL, "vocab_size": 320, "max_position_embeddings": 64}
    config = hf.VideoPrismConfig(text_config=text, vision_config=_prism())
    _random(hf.VideoPrismClipModel(config)).save_pretrained(folder)
    hf.LlavaOnevisionVideoProcessor(size={"height": 36, "width": 36}, do_normalize=False).save_pretrained(
        folder
    )
    _tokenizer(
        ["<pad>", "</s>", "<unk>"], "", eos_token="</s>", pad_token="<pad>", model_max_length=64
    ).save_pretrained(folder)


def videoprism_vision(folder: Path, kind: Any = None) -> None:
    config = hf.VideoPrismVisionConfig(**_prism())
    _random((kind or hf.VideoPrismVisionModel)(config)).save_pretrained(folder)
    hf.LlavaOnevisionVideoProcessor(size={"height": 36, "width": 36}, do_normalize=False).save_pretrained(
        folder
    )
