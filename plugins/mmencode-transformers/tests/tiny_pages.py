"""Small random checkpoints of ColPali, ColQwen2 and ColModernVBERT, as save_pretrained writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tiny
import transformers as hf
from PIL import Image

QUERIES = ["a dog", "Which page shows the red car on the road?", "thunder, kites; an old man", "42"]
_TEXT = {**tiny._SMALL, "vocab_size": 1600, "max_position_embeddings": 512, "head_dim": 8}
_VISION = {**tiny._SMALL, "image_size": 32, "patch_size": 8}


def pages() -> list[Image.Image]:
    """Pictures of several sizes and shapes, each its own noise over a slope."""
    made = []
    for place, (width, height) in enumerate([(60, 80), (96, 40), (33, 33), (20, 150)]):
        noise = np.random.default_rng(place).integers(0, 160, (height, width, 3))
        slope = np.linspace(0, 95, width)[None, :, None] * [1, 0.5, 0.2]
        made.append(Image.fromarray((noise + slope).astype(np.uint8)))
    return made


def words(marks: dict[str, str], more: tuple[str, ...] = (), side: str = "right") -> Any:
    """A tokenizer without marks of its own, with these special tokens."""
    made = tiny.tokenizer("gpt2", 512, side)
    made.add_special_tokens({**marks, "additional_special_tokens": list(more)})
    return made


def colpali(folder: Path) -> None:
    reader = words({"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"})
    images = hf.SiglipImageProcessor(size={"height": 32, "width": 32}, **tiny._PIXELS)
    images.image_seq_length = 16
    processor = hf.ColPaliProcessor(images, reader)
    config = hf.ColPaliConfig(
        vlm_config=hf.PaliGemmaConfig(
            vision_config={
                **_VISION,
                "model_type": "siglip_vision_model",
                "projection_dim": 32,
                "vision_use_head": False,
            },
            text_config={
                **_TEXT,
                "model_type": "gemma",
                "num_key_value_heads": 2,
                "pad_token_id": reader.pad_token_id,
            },
            image_token_index=processor.image_token_id,
            projection_dim=32,
        ),
        embedding_dim=16,
    )
    tiny._random(hf.ColPaliForRetrieval, config).save_pretrained(folder)
    processor.save_pretrained(folder)


def colqwen2(folder: Path) -> None:
    marks = (
        "<|im_start|>",
        "<|im_end|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|image_pad|>",
        "<|video_pad|>",
    )
    reader = words({"pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}, marks, "left")
    ids = {mark: reader.convert_tokens_to_ids(mark) for mark in marks}
    size = {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 12}
    processor = hf.ColQwen2Processor(hf.Qwen2VLImageProcessor(size=size), reader)
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    config = hf.ColQwen2Config(
        vlm_config=hf.Qwen2VLConfig(
            text_config={
                **_TEXT,
                "num_key_value_heads": 2,
                "rope_parameters": rope,
                "bos_token_id": None,
                "eos_token_id": reader.eos_token_id,
                "pad_token_id": reader.pad_token_id,
            },
            vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "mlp_ratio": 2},
            image_token_id=ids["<|image_pad|>"],
            video_token_id=ids["<|video_pad|>"],
            vision_start_token_id=ids["<|vision_start|>"],
            vision_end_token_id=ids["<|vision_end|>"],
        ),
        embedding_dim=16,
    )
    tiny._random(hf.ColQwen2ForRetrieval, config).save_pretrained(folder)
    processor.save_pretrained(folder)


def colmodernvbert(folder: Path) -> None:
    grid = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
    more = ("<global-img>", "<|begin_of_text|>", *grid)
    reader = words({"pad_token": "<pad>", "eos_token": "<eos>"}, more)
    images = hf.Idefics3ImageProcessor(
        size={"longest_edge": 96}, max_image_size={"longest_edge": 32}, resample=1
    )
    processor = hf.ColModernVBertProcessor(images, reader, image_seq_len=4)
    config = hf.ColModernVBertConfig(
        vlm_config=hf.ModernVBertConfig(
            text_config={
                **tiny._SMALL,
                "vocab_size": 1600,
                "max_position_embeddings": 512,
                "local_attention": 8,
                "pad_token_id": reader.pad_token_id,
            },
            vision_config={**_VISION, "model_type": "siglip_vision_model"},
            pixel_shuffle_factor=2,
            image_token_id=processor.image_token_id,
        ),
        embedding_dim=16,
    )
    tiny._random(hf.ColModernVBertForRetrieval, config).save_pretrained(folder)
    processor.save_pretrained(folder)
