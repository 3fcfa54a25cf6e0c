"""Small random checkpoints of each architecture, made here and saved as save_pretrained saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "a dog",
    "A photo of a red car on the road, near the quiet harbour.",
    "thunder",
    "Two children fly a kite; an old man repairs his boat under the bridge, and nobody sees them.",
    "query: what is a dog?",
]
_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_D_MODEL = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
}
_HEADS = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
_WAVE = {
    **_SMALL,
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 3, 3),
    "conv_stride": (5, 4, 4),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
LONGEST = 64


def tokenizer(kind: str = "bert", longest: int = LONGEST, side: str = "right") -> Any:
    """A fast tokenizer trained on the texts above, with the marks of BERT, RoBERTa, T5, GPT-2 or CLIP."""
    marks = {
        "bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        "roberta": ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
        "t5": ("<pad>", "</s>", "<unk>"),
        "gpt2": ("<|end|>",),
        "clip": ("<unk>", "<|start|>"),
        "siglip": ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>"),
    }[kind]
    made = Tokenizer(models.BPE(unk_token=None))
    made.normalizer = (
        normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]) if kind == "bert" else None
    )
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=list(marks),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS, trainer)
    if kind == "clip":
        made.add_special_tokens(["<|end|>"])  # the highest id, as in CLIP
    ends = {
        "bert": ("[CLS] $A [SEP]", ["[CLS]", "[SEP]"]),
        "roberta": ("<s> $A </s>", ["<s>", "</s>"]),
        "t5": ("$A </s>", ["</s>"]),
        "siglip": ("$A <eos>", ["<eos>"]),
        "clip": ("<|start|> $A <|end|>", ["<|start|>", "<|end|>"]),
    }
    if kind in ends:
        single, used = ends[kind]
        special = [(mark, made.token_to_id(mark)) for mark in used]
        made.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    names = {
        "bert": {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"},
        "roberta": {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"},
        "t5": {"pad_token": "<pad>", "eos_token": "</s>"},
        "gpt2": {"eos_token": "<|end|>", "pad_token": "<|end|>"},
        "clip": {"bos_token": "<|start|>", "eos_token": "<|end|>", "pad_token": "<|end|>"},
        "siglip": {"pad_token": "<pad>", "eos_token": "<eos>"},
    }[kind]
    inputs = ["input_ids"] if kind == "siglip" else ["input_ids", "attention_mask"]
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_max_length=longest,
        padding_side=side,
        model_input_names=inputs,
        **names,
    )


def _random(kind: Any, config: Any) -> Any:
    """A model whose weights are the same each time, and large enough for its outputs to differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(config).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):  # zeros would make silence the zero vector
                    parameter.normal_(0, 0.02)
                elif "norm" not in name.lower() and parameter.ndim > 1:
                    parameter.normal_(0, 0.3 if "embed" in name else 0.15)
    return model


def _text(kind: Any, config: Any, words: Any, folder: Path) -> None:
    _random(kind, config).save_pretrained(folder)
    words.save_pretrained(folder)


def bert(folder: Path) -> None:
    config = hf.BertConfig(vocab_size=400, max_position_embeddings=LONGEST, **_SMALL)
    _text(hf.BertForMaskedLM, config, tokenizer(), folder)


def roberta(folder: Path) -> None:
    config = hf.RobertaConfig(
        vocab_size=400, max_position_embeddings=LONGEST + 2, pad_token_id=1, type_vocab_size=1, **_SMALL
    )
    _text(hf.RobertaModel, config, tokenizer("roberta", int(1e30)), folder)


def mpnet(folder: Path) -> None:
    config = hf.MPNetConfig(vocab_size=400, max_position_embeddings=LONGEST + 2, pad_token_id=1, **_SMALL)
    _text(hf.MPNetModel, config, tokenizer("roberta", 512), folder)


def distilbert(folder: Path) -> None:
    config = hf.DistilBertConfig(
        vocab_size=400, max_position_embeddings=LONGEST, dim=32, n_layers=2, n_heads=4, hidden_dim=48
    )
    _text(hf.DistilBertModel, config, tokenizer(), folder)


def modernbert(folder: Path) -> None:
    config = hf.ModernBertConfig(
        vocab_size=400, max_position_embeddings=LONGEST, pad_token_id=0, local_attention=8, **_SMALL
    )
    _text(hf.ModernBertModel, config, tokenizer(), folder)


def t5(folder: Path) -> None:
    config = hf.T5Config(
        vocab_size=400, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, pad_token_id=0, eos_token_id=1
    )
    _text(hf.T5EncoderModel, config, tokenizer("t5"), folder)


def bart(folder: Path) -> None:
    config = hf.BartConfig(
        vocab_size=400, max_position_embeddings=LONGEST, pad_token_id=1, **_D_MODEL, **_HEADS
    )
    _text(hf.BartModel, config, tokenizer("roberta"), folder)


def gpt2(folder: Path, side: str = "right") -> None:
    config = hf.GPT2Config(vocab_size=400, n_positions=LONGEST, n_embd=32, n_layer=2, n_head=4, n_inner=48)
    _text(hf.GPT2LMHeadModel, config, tokenizer("gpt2", side=side), folder)


def gpt2_left(folder: Path) -> None:
    gpt2(folder, "left")


def llama(folder: Path) -> None:
    config = hf.LlamaConfig(
        vocab_size=400, max_position_embeddings=LONGEST, num_key_value_heads=2, pad_token_id=None, **_SMALL
    )
    _text(hf.LlamaForCausalLM, config, tokenizer("gpt2", side="left"), folder)


def clap(folder: Path, fused: bool = False) -> None:
    audio = {
        "spec_size": 128,
        "num_mel_bins": 64,
        "patch_size": 4,
        "patch_stride": [4, 4],
        "window_size": 4,
        "patch_embeds_hidden_size": 16,
        "hidden_size": 32,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "num_hidden_layers": 2,
        "enable_fusion": fused,
        "enable_patch_fusion": fused,
        "fusion_type": "aff_2d" if fused else None,
        "projection_dim": 24,
    }
    text = {
        **_SMALL,
        "vocab_size": 400,
        "max_position_embeddings": LONGEST + 2,
        "pad_token_id": 1,
        "projection_dim": 24,
    }
    config = hf.ClapConfig(audio_config=audio, text_config=text, projection_dim=24)
    model = _random(hf.ClapModel, config)
    with torch.no_grad():
        model.logit_scale_a.fill_(2.5)
    model.save_pretrained(folder)
    tokenizer("roberta").save_pretrained(folder)
    hf.ClapFeatureExtractor(
        feature_size=64,
        sampling_rate=8000,
        hop_length=160,
        max_length_s=5,
        fft_window_size=512,
        frequency_max=4000,
        truncation="fusion" if fused else "rand_trunc",
    ).save_pretrained(folder)


def clap_fused(folder: Path) -> None:
    clap(folder, True)


_VISION = {**_SMALL, "image_size": 32, "patch_size": 8}
_PIXELS = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.25]}


def clip(folder: Path) -> None:
    text = {
        **_SMALL,
        "vocab_size": 400,
        "max_position_embeddings": LONGEST,
        "eos_token_id": tokenizer("clip").eos_token_id,
    }
    config = hf.CLIPConfig(text_config=text, vision_config=_VISION, projection_dim=24)
    _random(hf.CLIPModel, config).save_pretrained(folder)
    tokenizer("clip").save_pretrained(folder)
    hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32, **_PIXELS).save_pretrained(folder)


def siglip(folder: Path) -> None:
    text = {**_SMALL, "vocab_size": 400, "max_position_embeddings": LONGEST, "projection_size": 32}
    config = hf.SiglipConfig(text_config=text, vision_config=_VISION)
    _random(hf.SiglipModel, config).save_pretrained(folder)
    tokenizer("siglip").save_pretrained(folder)
    hf.SiglipImageProcessor(size={"height": 32, "width": 32}, **_PIXELS).save_pretrained(folder)


def siglip2(folder: Path) -> None:
    text = {**_SMALL, "vocab_size": 400, "max_position_embeddings": LONGEST, "projection_size": 32}
    vision = {**_SMALL, "patch_size": 8, "num_patches": 16}
    config = hf.Siglip2Config(text_config=text, vision_config=vision)
    _random(hf.Siglip2Model, config).save_pretrained(folder)
    tokenizer("siglip").save_pretrained(folder)
    hf.Siglip2ImageProcessor(patch_size=8, max_num_patches=24, **_PIXELS).save_pretrained(folder)


def dinov2(folder: Path) -> None:
    _random(hf.Dinov2Model, hf.Dinov2Config(mlp_ratio=2, **_VISION)).save_pretrained(folder)
    hf.BitImageProcessor(size={"shortest_edge": 36}, crop_size=32, **_PIXELS).save_pretrained(folder)


def dinov3(folder: Path) -> None:
    config = hf.DINOv3ViTConfig(num_register_tokens=4, **_VISION)
    _random(hf.DINOv3ViTModel, config).save_pretrained(folder)
    hf.DINOv3ViTImageProcessor(size={"height": 32, "width": 32}, **_PIXELS).save_pretrained(folder)


def vit(folder: Path) -> None:
    config = hf.ViTConfig(**_VISION)
    _random(hf.ViTForImageClassification, config).save_pretrained(folder)
    hf.ViTImageProcessor(size={"height": 32, "width": 32}, **_PIXELS).save_pretrained(folder)


def wav2vec2(folder: Path) -> None:
    config = hf.Wav2Vec2Config(vocab_size=8, feat_extract_norm="group", **_WAVE)
    _random(hf.Wav2Vec2ForCTC, config).save_pretrained(folder)
    hf.Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)


def hubert(folder: Path) -> None:
    config = hf.HubertConfig(feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True, **_WAVE)
    _random(hf.HubertModel, config).save_pretrained(folder)
    hf.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)


def wavlm(folder: Path) -> None:
    config = hf.WavLMConfig(feat_extract_norm="group", num_buckets=16, max_bucket_distance=32, **_WAVE)
    _random(hf.WavLMModel, config).save_pretrained(folder)
    hf.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)


def whisper(folder: Path) -> None:
    config = hf.WhisperConfig(
        vocab_size=64, num_mel_bins=8, max_source_positions=100, pad_token_id=0, **_D_MODEL, **_HEADS
    )
    _random(hf.WhisperForConditionalGeneration, config).save_pretrained(folder)
    hf.WhisperFeatureExtractor(feature_size=8, chunk_length=2).save_pretrained(folder)


def ast(folder: Path) -> None:
    config = hf.ASTConfig(
        num_mel_bins=16, max_length=64, patch_size=8, frequency_stride=5, time_stride=5, **_SMALL
    )
    _random(hf.ASTForAudioClassification, config).save_pretrained(folder)
    hf.ASTFeatureExtractor(num_mel_bins=16, max_length=64).save_pretrained(folder)


def sentence(folder: Path) -> None:
    """A checkpoint as sentence-transformers writes it: mean pooling, a layer, unit length, a prompt."""
    bert(folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense", "3_Normalize": "Normalize"}
    listed = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(listed))
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    for path, settings in {
        "1_Pooling": {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True},
        "2_Dense": {"in_features": 32, "out_features": 16, "activation_function": "torch.nn.modules.Tanh"},
    }.items():
        (folder / path).mkdir()
        (folder / path / "config.json").write_text(json.dumps(settings))
    layer = torch.nn.Linear(32, 16)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(0, 0.2, generator=torch.Generator().manual_seed(0))
    weights = {f"linear.{name}": tensor for name, tensor in layer.state_dict().items()}
    save_file(weights, folder / "2_Dense" / "model.safetensors")
