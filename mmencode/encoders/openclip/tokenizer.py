"""The two kinds of open_clip's tokenizers, used without locks, with the place of the text's own ids."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor

from ...errors import WeightsError
from ..byte_pairs import BytePairs


class Tokenized(NamedTuple):
    """A text as ids `[context]`, padded as open_clip does it; the text's own are `ids[start:end]`.

    The text's own include the tokenizer's marks of start and end, which `words` doesn't count. `cut` says
    whether the text was longer than the context.
    """

    ids: Tensor
    start: int
    end: int
    cut: bool
    words: int


class Reader(Protocol):
    """Tokenizes texts as one tokenizer does, in any number of threads; `identity` tells tokenizers apart."""

    @property
    def identity(self) -> str:
        """The kind of the tokenizer, and a digest of everything that ids depend on."""

    def read(self, text: str) -> Tokenized:
        """Tokenize a text to ids of the whole context."""


def reader(tokenizer: Any) -> Reader:
    """Make the reader for a tokenizer of open_clip; WeightsError for a kind that has none."""
    kind = type(tokenizer)
    if kind not in _READERS:
        raise WeightsError(
            f"open_clip made a {kind.__name__}, which doesn't say which ids are the text's own",
            remedy="name the tokenizer in the model's config, text_cfg.hf_tokenizer_name",
        )
    return _READERS[kind](tokenizer)


class _Pairs:
    """Reads by open_clip's own byte pairs, padded with zeros; zero is also the id of an exclamation mark."""

    def __init__(self, tokenizer: SimpleTokenizer) -> None:
        if tokenizer.reduction_fn is not None:
            raise WeightsError(
                "the tokenizer leaves tokens of long texts out by chance: it has a reduction_mask",
                remedy="take reduction_mask out of text_cfg.tokenizer_kwargs: long texts are cut then",
            )
        self._pairs = BytePairs(tokenizer)
        self._context = int(tokenizer.context_length)
        self._start, self._end = tokenizer.sot_token_id, tokenizer.eot_token_id

    @property
    def identity(self) -> str:
        return f"SimpleTokenizer {self._pairs.identity}"

    def read(self, text: str) -> Tokenized:
        room = self._context - 2
        found = self._pairs.ids(text, room + 1)
        own = [self._start, *found[:room], self._end]
        ids = torch.zeros(self._context, dtype=torch.int64)
        ids[: len(own)] = torch.tensor(own)
        return Tokenized(ids, 0, len(own), len(found) > room, len(found))


class _HuggingFace:
    """Reads by a tokenizer of transformers, as open_clip's wrapper does, but keeps the attention mask.

    The ids alone don't tell the text's own from padding: SigLIP pads with the end token. The tokenizer of the
    tokenizers library is used directly, and its settings aren't changed after construction: threads can share
    that, but not the one of transformers.
    """

    def __init__(self, tokenizer: HFTokenizer) -> None:
        from tokenizers import Tokenizer  # comes with transformers, which few checkpoints need

        plain = tokenizer.tokenizer
        if not plain.is_fast:
            raise WeightsError(
                f"the tokenizer is a {type(plain).__name__}, which has no fast form",
                remedy="put a tokenizer.json beside the weights, of a fast tokenizer_class",
            )
        self._clean = tokenizer.clean_fn
        self._marks = (plain.bos_token_id, plain.eos_token_id, plain.cls_token_id, plain.pad_token_id)
        self._clips = tokenizer.tokenizer_mode == "clips"
        self._context = int(tokenizer.context_length)
        self._dropped = plain.sep_token_id if tokenizer.strip_sep_token and not self._clips else None
        self._tokenizer: Any = Tokenizer.from_str(plain.backend_tokenizer.to_str())
        self._tokenizer.encode_special_tokens = plain.backend_tokenizer.encode_special_tokens
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        content = self._tokenizer.to_str()
        room = self._context - 3 if self._clips else self._context
        side = "right" if self._clips else plain.truncation_side
        self._tokenizer.enable_truncation(room, direction=side)
        if not self._clips:
            self._tokenizer.enable_padding(
                direction=plain.padding_side,
                pad_id=plain.pad_token_id,
                pad_type_id=plain.pad_token_type_id,
                pad_token=plain.pad_token,
                length=self._context,
            )
        facts = (
            self._clean.__name__,
            self._clips,
            self._context,
            self._dropped,
            self._marks,
            plain.pad_token,
        )
        settings = (side, plain.padding_side, plain.backend_tokenizer.encode_special_tokens)
        self._digest = hashlib.sha256(f"{facts} {settings} {content}".encode()).hexdigest()

    @property
    def identity(self) -> str:
        return f"HFTokenizer sha256:{self._digest}"

    def read(self, text: str) -> Tokenized:
        found = self._tokenizer.encode(self._clean(text), add_special_tokens=not self._clips)
        cut = bool(found.overflowing)
        words = found.special_tokens_mask.count(0)
        if self._clips:
            return self._as_clips(found.ids, cut, words)
        ids = torch.tensor(found.ids)
        if self._dropped is not None:
            ids[ids == self._dropped] = 0
        own = torch.tensor(found.attention_mask).nonzero()[:, 0].tolist() or [0, -1]
        return Tokenized(ids, own[0], own[-1] + 1, cut, words)

    def _as_clips(self, found: list[int], cut: bool, words: int) -> Tokenized:
        """Pad ids as CLIPS does, with a class token after the padding, which isn't the text's own."""
        start, end, mark, padding = self._marks
        own = [start, *found, end]
        ids = [*own, *[padding] * (self._context - 1 - len(own)), mark]
        return Tokenized(torch.tensor(ids), 0, len(own), cut, words)


_READERS: dict[type, Callable[[Any], Reader]] = {SimpleTokenizer: _Pairs, HFTokenizer: _HuggingFace}
