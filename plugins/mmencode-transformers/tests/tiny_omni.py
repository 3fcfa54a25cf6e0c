"""Small random checkpoints that take several modalities, saved as their own libraries save them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers as hf
from tiny import TEXTS, _random
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

RATE = 16000
_GEMMA = {
    "image_token": "<|image|>",
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "audio_token": "<|audio|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
}
_QWEN = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
}
CHAT = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.content is string %}{{- message.content }}{%- else %}"
    "{%- for part in message.content %}"
    "{%- if part.type == 'image' %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{%- elif part.type == 'video' %}{{- '<|vision_start|><|video_pad|><|vision_end|>' }}"
    "{%- elif part.type == 'text' %}{{- part.text }}{%- endif %}{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
GEMMA_CHAT = (
    "{{- bos_token }}{%- for message in messages %}{{- '<|turn>' + message.role + '\n' }}"
    "{%- if message.content is string %}{{- message.content }}{%- else %}"
    "{%- for part in message.content %}"
    "{%- if part.type == 'text' %}{{- part.text | trim }}"
    "{%- else %}{{- '<|' + part.type + '|>' }}{%- endif %}{%- endfor %}{%- endif %}"
    "{{- '<turn|>\n' }}{%- endfor %}"
)


def words(marks: dict[str, str], others: list[str], names: dict[str, str], start: str = "") -> Any:
    """A fast tokenizer trained on a few texts, with marks for media that it knows by name."""
    made = Tokenizer(models.BPE(unk_token=None))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=[*others, *marks.values()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS, trainer)
    if start:
        made.post_processor = processors.TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, made.token_to_id(start))]
        )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=1024, extra_special_tokens=marks, **names
    )


def gemma(folder: Path, *, audio: bool = True, chat: str | None = None) -> None:
    """EmbeddingGemma 2, with its towers for images, videos and sounds."""
    marks = dict(_GEMMA)
    tokenizer = words(
        marks,
        ["<pad>", "<eos>", "<bos>", "<|video|>", "<|turn>", "<turn|>"],
        {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>"},
        "<bos>",
    )
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in marks.items()}
    text = {
        "vocab_size": 400,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "global_head_dim": 32,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "hidden_size_per_layer_input": 8,
        "embedding_dim": 24,
        "max_position_embeddings": 512,
    }
    vision = {
        "model_type": "gemma4_vision",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "patch_size": 4,
        "pooling_kernel_size": 2,
        "position_embedding_size": 512,
    }
    hearing = {
        "model_type": "gemma4_audio",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "subsampling_conv_channels": [16, 8],
        "output_proj_dims": 32,
    }
    config = hf.EmbeddingGemma2Config(
        text_config=text,
        vision_config=vision,
        audio_config=hearing if audio else None,
        boi_token_id=ids["boi_token"],
        eoi_token_id=ids["eoi_token"],
        image_token_id=ids["image_token"],
        video_token_id=tokenizer.convert_tokens_to_ids("<|video|>"),
        boa_token_id=ids["boa_token"],
        eoa_token_index=ids["eoa_token"],
        audio_token_id=ids["audio_token"],
    )
    _random(hf.EmbeddingGemma2Model, config).save_pretrained(folder)
    pixels = {"patch_size": 4, "max_soft_tokens": 70, "pooling_kernel_size": 2}
    hf.EmbeddingGemma2Processor(
        feature_extractor=hf.Gemma4AudioFeatureExtractor(feature_size=16, sampling_rate=RATE),
        image_processor=hf.Gemma4ImageProcessor(**pixels),
        tokenizer=tokenizer,
        video_processor=hf.EmbeddingGemma2VideoProcessor(max_frames=6, **pixels),
        chat_template=chat,
    ).save_pretrained(folder)


def _qwen(kind: Any, processor: Any, config: Any, folder: Path, tokenizer: Any, size: dict[str, int]) -> None:
    _random(kind, config).save_pretrained(folder)
    name = processor.__name__.removesuffix("Processor")
    images = hf.Qwen2VLImageProcessor(patch_size=4, merge_size=2, size=size)
    videos = getattr(hf, f"{name}VideoProcessor")(patch_size=4, merge_size=2, size=size)
    made = processor(image_processor=images, tokenizer=tokenizer, video_processor=videos, chat_template=CHAT)
    made.save_pretrained(folder)


def _qwen_words() -> Any:
    names = {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
    return words(_QWEN, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], names)


def _qwen_ids(tokenizer: Any) -> dict[str, int]:
    return {
        "image_token_id": tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        "video_token_id": tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        "vision_start_token_id": tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        "vision_end_token_id": tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    }


_DECODER = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
}


def qwen3(folder: Path, **larger: int) -> None:
    """Qwen3-VL, as Qwen3-VL-Embedding is saved, with its language head; `larger` are sizes of its decoder."""
    tokenizer = _qwen_words()
    config = hf.Qwen3VLConfig(
        text_config={
            **_DECODER,
            "head_dim": 16,
            **larger,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": 4,
            "out_hidden_size": larger.get("hidden_size", 32),
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        **_qwen_ids(tokenizer),
    )
    size = {"shortest_edge": 16 * 16, "longest_edge": 48 * 48}
    _qwen(hf.Qwen3VLForConditionalGeneration, hf.Qwen3VLProcessor, config, folder, tokenizer, size)


def qwen2(folder: Path) -> None:
    """Qwen2-VL, of which GME and others were made."""
    tokenizer = _qwen_words()
    config = hf.Qwen2VLConfig(
        text_config={
            **_DECODER,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]},
        },
        vision_config={
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 32,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
        },
        **_qwen_ids(tokenizer),
    )
    size = {"shortest_edge": 16 * 16, "longest_edge": 48 * 48}
    _qwen(hf.Qwen2VLForConditionalGeneration, hf.Qwen2VLProcessor, config, folder, tokenizer, size)


def silent(folder: Path) -> None:
    """EmbeddingGemma 2 without a tower for sounds."""
    gemma(folder, audio=False)


def chatting(folder: Path) -> None:
    """EmbeddingGemma 2 with a chat template."""
    gemma(folder, chat=GEMMA_CHAT)


POOLINGS = {"qwen2": "lasttoken", "qwen3": "lasttoken"}


def sentences(name: str, plain: Path, folder: Path, **options: Any) -> Any:
    """Save a checkpoint as sentence-transformers saves it, and give its model."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    first = Transformer(str(plain), **options)
    pooling = Pooling(first.get_embedding_dimension(), POOLINGS.get(name, "mean"))
    model = SentenceTransformer(
        modules=[first, pooling, Normalize()],
        device="cpu",
        prompts={"query": "find what matches: ", "document": "describe this: "},
    )
    model.save(str(folder))
    return model
