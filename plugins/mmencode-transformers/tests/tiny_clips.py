"""Small random checkpoints of two towers beside CLIP's, and of SigLIP with its own tokenizer."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import tiny
import torch
import transformers as hf

PIXELS = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.25]}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
VISION = {**SMALL, "image_size": 32, "patch_size": 8}
TEXT = {**SMALL, "vocab_size": 400, "max_position_embeddings": tiny.LONGEST}
KINDS = ("metaclip_2", "altclip", "chinese_clip", "aimv2", "tipsv2")


def save(folder: Path, model: Any, words: Any, processor: Any) -> None:
    for part in (model, words, processor):
        part.save_pretrained(folder)


def _crop() -> Any:
    return hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32, **PIXELS)


def metaclip_2(folder: Path) -> None:
    words = tiny.tokenizer("roberta")
    config = hf.MetaClip2Config(
        text_config={**TEXT, "eos_token_id": words.eos_token_id}, vision_config=VISION, projection_dim=24
    )
    save(folder, tiny._random(hf.MetaClip2Model, config), words, _crop())


def altclip(folder: Path) -> None:
    text = {**TEXT, "max_position_embeddings": tiny.LONGEST + 2, "project_dim": 20}
    config = hf.AltCLIPConfig(text_config=text, vision_config=VISION, projection_dim=24)
    save(folder, tiny._random(hf.AltCLIPModel, config), tiny.tokenizer("roberta", 512), _crop())


def chinese_clip(folder: Path) -> None:
    config = hf.ChineseCLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=24)
    processor = hf.ChineseCLIPImageProcessor(
        size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32}, **PIXELS
    )
    save(folder, tiny._random(hf.ChineseCLIPModel, config), tiny.tokenizer("bert", 512), processor)


def aimv2(folder: Path) -> None:
    words = tiny.tokenizer("clip")
    config = hf.Aimv2Config(
        text_config={**TEXT, "eos_token_id": words.eos_token_id}, vision_config=VISION, projection_dim=24
    )
    save(folder, tiny._random(hf.Aimv2Model, config), words, _crop())


def tipsv2(folder: Path) -> None:
    words = tiny.tokenizer("t5")
    words.backend_tokenizer.post_processor = None  # it has no marks
    model = tiny._random(hf.Tipsv2Model, hf.Tipsv2Config(text_config=TEXT, vision_config=VISION))
    with torch.no_grad():
        model.temperature.fill_(0.1)
    save(folder, model, words, hf.Tipsv2ImageProcessor(size={"height": 32, "width": 32}))


def pieces() -> bytes:
    """A sentencepiece model of the texts in tiny, with SigLIP's marks."""
    import sentencepiece

    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(tiny.TEXTS * 3),
        model_writer=made,
        vocab_size=300,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return made.getvalue()


def siglip_pieces(folder: Path) -> None:
    """SigLIP as it is published: its tokenizer is SiglipTokenizer, and its mask isn't used."""
    tiny.siglip(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    (folder / "spiece.model").write_bytes(pieces())
    words = hf.SiglipTokenizer(str(folder / "spiece.model"), model_input_names=["input_ids"])
    words.model_max_length = tiny.LONGEST
    words.save_pretrained(folder)
