"""Small random checkpoints of late interaction, as sentence-transformers, PyLate and ColBERT write them."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import tiny
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [*tiny.TEXTS, "dog (dog) dog: dog!", "A red car. A red car? A red car; the road, the harbour."]


def words(base: str = "bert", side: str = "right", longest: int = tiny.LONGEST) -> Any:
    """A tokenizer with a mask token, and with the markers of ColBERT where it is BERT's."""
    made = tiny.tokenizer(base, longest, side)
    if base == "bert":
        made.add_special_tokens({"mask_token": "[MASK]"})
        made.add_tokens(["[unused0]", "[unused1]"])
    return made


def pieces() -> Any:
    """A tokenizer of BERT's kind, WordPiece, with ColBERT's markers in its vocabulary."""
    marks = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    every = [*string.ascii_lowercase, *string.punctuation]
    trainer = trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=marks, initial_alphabet=every, show_progress=False
    )
    made.train_from_iterator(TEXTS, trainer)
    vocabulary = made.get_vocab()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    plain = models.WordPiece(vocabulary, unk_token="[UNK]")  # the markers are no tokens of their own in it
    made.model = plain
    bare = json.loads(made.to_str())
    bare["added_tokens"] = [one for one in bare["added_tokens"] if "unused" not in one["content"]]
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(bare)), model_max_length=tiny.LONGEST, **names
    )


def base(folder: Path, kind: str = "bert") -> Path:
    """A text model of an architecture, with that tokenizer."""
    getattr(tiny, kind)(folder)
    if kind in ("bert", "modernbert"):
        words().save_pretrained(folder)
    return folder


def linear(inputs: int = 32, outputs: int = 16) -> torch.Tensor:
    """The weights of a projection, the same each time."""
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(1)) / 6


def save(
    folder: Path,
    kind: str = "bert",
    *,
    mask: dict[str, Any] | None = None,
    between: tuple[Any, ...] = (),
    behind: tuple[Any, ...] = (),
    prompts: dict[str, str] | None = None,
    **options: Any,
) -> Any:
    """A checkpoint of sentence-transformers 6, and that library's own model of it, loaded from there."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    plain = base(folder.with_name(f"{folder.name}-base"), kind)
    token = {"module_input_name": "token_embeddings"}
    dense = Dense(32, 16, bias=False, activation_function=torch.nn.Identity(), init_weight=linear(), **token)
    modules = [
        Transformer(str(plain), **options),
        dense,
        *between,
        MultiVectorMask(**({"skiplist_words": list(string.punctuation)} if mask is None else mask)),
        Normalize(**token),
        *behind,
    ]
    MultiVectorEncoder(modules=modules, prompts=prompts, device="cpu").save(str(folder))
    return MultiVectorEncoder(str(folder), device="cpu")


def longer_queries(folder: Path) -> None:
    """A ColBERT whose queries are filled up to 60 tokens."""
    colbert(folder, query_maxlen=60)


def pylate(folder: Path, *, markers: bool = True, **changes: Any) -> None:
    """A checkpoint as PyLate 1 writes it: [Transformer, Dense], and all else in one file of settings."""
    base(folder)
    if markers:
        model = hf.BertModel.from_pretrained(folder)
        made = words()
        made.add_tokens(["[Q] ", "[D] "])
        model.resize_token_embeddings(400)
        made.save_pretrained(folder)
    listed = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": 47, "do_lower_case": False})
    )
    (folder / "1_Dense").mkdir()
    layer = {
        "in_features": 32,
        "out_features": 16,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
        "use_residual": False,
    }
    (folder / "1_Dense" / "config.json").write_text(json.dumps(layer))
    save_file({"linear.weight": linear()}, folder / "1_Dense" / "model.safetensors")
    settings = {
        "model_type": "ColBERT",
        "prompts": {},
        "default_prompt_name": None,
        "similarity_fn_name": "MaxSim",
        "query_prefix": "[Q] ",
        "document_prefix": "[D] ",
        "query_length": 20,
        "document_length": 30,
        "attend_to_expansion_tokens": False,
        "skiplist_words": list(string.punctuation),
        "do_query_expansion": True,
    }
    settings = {name: value for name, value in {**settings, **changes}.items() if value != "absent"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))


def colbert(folder: Path, **changes: Any) -> None:
    """A checkpoint as ColBERT writes it: BERT and its `linear.weight` in one file, with artifact.metadata."""
    base(folder)
    pieces().save_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    state = {name: tensor for name, tensor in state.items() if name.startswith("bert.")}
    save_file({**state, "linear.weight": linear()}, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["HF_ColBERT"]}))
    metadata = {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_token": "[Q]",
        "doc_token": "[D]",
        "attend_to_mask_tokens": False,
        "mask_punctuation": True,
        "dim": 16,
        "similarity": "cosine",
        "doc_maxlen": 30,
        "query_maxlen": 20,
    }
    metadata = {name: value for name, value in {**metadata, **changes}.items() if value != "absent"}
    (folder / "artifact.metadata").write_text(json.dumps(metadata))
