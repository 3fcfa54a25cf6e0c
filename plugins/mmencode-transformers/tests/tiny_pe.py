"""Small random checkpoints of Perception Encoder audio-visual, saved as transformers saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers as hf
from tiny import LONGEST, _random, tokenizer

RATE = 4000
HOP = 64
_LAYERS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "head_dim": 16,
}
_TEXT = {
    "model_type": "modernbert",
    "vocab_size": 400,
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": LONGEST,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "cls_token_id": 2,
    "sep_token_id": 3,
    "local_attention": 8,
}
_AUDIO = {
    "model_type": "pe_audio_encoder",
    **_LAYERS,
    "dac_config": {
        "model_type": "dac",
        "encoder_hidden_size": 4,
        "downsampling_ratios": [8, 8],
        "codebook_dim": 8,
        "hidden_size": 16,
        "hop_length": HOP,
    },
    "max_position_embeddings": 4000,
}
_VIDEO = {
    "model_type": "pe_video_encoder",
    **_LAYERS,
    "vision_config": {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 20,
        "do_pooling": True,
        "model_args": {"img_size": 32, "embed_dim": 24, "depth": 1, "num_heads": 2},
    },
    "max_position_embeddings": 64,
}


def _save(model: Any, folder: Path, *, audio: bool, video: bool) -> None:
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    sounds = hf.PeAudioFeatureExtractor(sampling_rate=RATE, hop_length=HOP)
    clips = hf.PeVideoVideoProcessor(
        size={"height": 32, "width": 32},
        do_resize=True,
        do_rescale=True,
        do_normalize=True,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    if audio and video:
        hf.PeAudioVideoProcessor(sounds, clips, tokenizer()).save_pretrained(folder)
    elif audio:
        hf.PeAudioProcessor(sounds, tokenizer()).save_pretrained(folder)
    else:
        hf.PeVideoProcessor(clips, tokenizer()).save_pretrained(folder)


def pe_audio(folder: Path) -> None:
    config = hf.PeAudioConfig(text_config=_TEXT, audio_config=_AUDIO)
    _save(_random(hf.PeAudioModel, config), folder, audio=True, video=False)


def pe_video(folder: Path) -> None:
    config = hf.PeVideoConfig(text_config=_TEXT, video_config=_VIDEO)
    _save(_random(hf.PeVideoModel, config), folder, audio=False, video=True)


def pe_audio_video(folder: Path) -> None:
    both = {**_LAYERS, "audio_config": _AUDIO, "video_config": _VIDEO}
    config = hf.PeAudioVideoConfig(text_config=_TEXT, audio_video_config=both)
    _save(_random(hf.PeAudioVideoModel, config), folder, audio=True, video=True)
