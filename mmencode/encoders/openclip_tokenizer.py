"""The two tokenizers of open_clip, read so that they also say which ids are the text's own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor

from ..errors import WeightsError


class Tokenized(NamedTuple):
    """A text as ids `[context]`, padded as open_clip does it; its own are `ids[start:end]`.

    Its own are also the marks that the tokenizer puts at its start and end. `cut` says that it was longer.
    """

    ids: Tensor
    start: int
    end: int
    cut: bool


def reader(tokenizer: Any) -> Callable[[Any, str], Tokenized]:
    """How a tokenizer of this kind reads a text; WeightsError when open_clip has made another kind."""
    kind = type(tokenizer)
    if kind not in _READERS:
        raise WeightsError(
            f"open_clip made a {kind.__name__}, which doesn't say which ids are the text's own",
            remedy="name the tokenizer in the model's config, text_cfg.hf_tokenizer_name",
        )
    return _READERS[kind]


def fingerprint(tokenizer: Any) -> str:
    """A digest of what the tokenizer makes of a text that has something of everything."""
    probe = (
        "A photo of 3 DOGS, naïve café — “quoted”; e.g. x²! 日本 🙂 don't_stop (at) http://x.y?z=1 &amp; more"
    )
    ids = tokenizer([probe])[0].to(torch.int64)
    return f"{type(tokenizer).__name__} sha256:{hashlib.sha256(ids.numpy().tobytes()).hexdigest()}"


def _pairs(tokenizer: Any, text: str) -> Tokenized:
    """By open_clip's own byte pairs, padded with zeros; zero is also the id of an exclamation mark."""
    ids: Tensor = tokenizer([text])[0]
    context = len(ids)
    end = int((ids == tokenizer.eot_token_id).nonzero()[-1]) + 1
    # A token is at least one byte, and two mark start and end: most texts need no second look.
    cut = len(text.encode()) + 2 > context and len(tokenizer.encode(text)) + 2 > context
    return Tokenized(ids, 0, end, cut)


def _hugging_face(tokenizer: Any, text: str) -> Tokenized:
    """By a tokenizer of transformers; what open_clip's wrapper does, which drops the attention mask.

    The ids alone don't tell: SigLIP pads with the end token.
    """
    if tokenizer.tokenizer_mode == "clips":
        return _clips(tokenizer, text)
    inner, context, clean = tokenizer.tokenizer, tokenizer.context_length, tokenizer.clean_fn(text)
    found = inner(
        clean, max_length=context, padding="max_length", truncation=True, return_attention_mask=True
    )
    ids = torch.tensor(found["input_ids"])
    if tokenizer.strip_sep_token:
        ids[ids == inner.sep_token_id] = 0
    own = torch.tensor(found["attention_mask"]).nonzero()[:, 0].tolist() or [0, -1]
    full = len(own) == context
    cut = full and len(inner(clean, verbose=False)["input_ids"]) > context
    return Tokenized(ids, own[0], own[-1] + 1, cut)


def _clips(tokenizer: Any, text: str) -> Tokenized:
    """CLIPS puts a class token behind the padding; it isn't the text's own."""
    length = len(tokenizer.tokenizer(tokenizer.clean_fn(text), add_special_tokens=False)["input_ids"])
    room = tokenizer.context_length - 3
    return Tokenized(tokenizer([text])[0], 0, min(length, room) + 2, length > room)


_READERS: dict[type, Callable[[Any, str], Tokenized]] = {
    SimpleTokenizer: _pairs,
    HFTokenizer: _hugging_face,
}
