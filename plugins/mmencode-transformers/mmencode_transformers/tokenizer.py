"""The fast tokenizer of a checkpoint, in a form that threads can share."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any, Protocol

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.normalizers import Lowercase, Sequence
from torch import Tensor
from transformers import AutoTokenizer

from mmencode.checkpoints import describe_error, require_tokenizer, require_tokens
from mmencode.encoder import Notice
from mmencode.errors import WeightsError

from .loading import SAFELY, load_config
from .sources import Checkpoint

_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
_ENDLESS = 10**9  # transformers writes a model_max_length of 1e30 where there is none


class Reader(Protocol):
    """Reads texts as the ids of a tower's tokens, on any thread.

    padding is the id that fills rows, masked says whether the tower is told which tokens are a text's own,
    and rule and identity are the words and the digest for the space's identity.
    """

    padding: int
    masked: bool
    identity: str

    @property
    def rule(self) -> str:
        """A few words on how texts are read, cut and padded."""

    def read(self, text: str) -> tuple[Tensor, Tensor]:
        """Tokenize a text to ids `[t]` and the mask `[t]` of its own; InputError if nothing is left of it."""


class CheckpointTokenizer:
    """Tokenizes texts to ids, cut to `most` tokens with one warning; `padding` is the id that fills rows.

    The tokenizer of the tokenizers library is used directly, and its settings aren't changed after
    construction: threads can share that, but not the one of transformers.

    most     the largest number of tokens; None for no limit
    own      whether the tokenizer's own limit counts where it is lower
    lower    whether texts are put into lower case first
    context  the number of tokens that every row is padded to; with 0, rows are padded to the longest of a
             batch, at the end
    marks    prompts that begin with a token of the vocabulary, which stays in one piece
    plain    the tokenizer of transformers, where it is loaded already
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: Any,
        most: int | None,
        *,
        own: bool = True,
        lower: bool = False,
        context: int = 0,
        marks: tuple[str, ...] = (),
        plain: Any = None,
    ) -> None:
        plain = plain or load_plain(checkpoint)
        _keep_whole(plain, marks)
        self.plain = plain
        self._context = context
        self.masked = "attention_mask" in plain.model_input_names
        self.padding = _first(getattr(config, "pad_token_id", None), plain.pad_token_id, 0)
        limits = [limit for limit in (most, own and plain.model_max_length) if limit and limit < _ENDLESS]
        self.most = min(limits, default=None)
        self._tokenizer = Tokenizer.from_str(plain.backend_tokenizer.to_str())
        self._tokenizer.encode_special_tokens = plain.backend_tokenizer.encode_special_tokens
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if lower:
            _lower(self._tokenizer)
        content = self._tokenizer.to_str()
        if self.most:
            self._tokenizer.enable_truncation(self.most, direction=plain.truncation_side)
        if context:
            self._tokenizer.enable_padding(
                direction=plain.padding_side,
                pad_id=_first(plain.pad_token_id, 0),
                pad_token=plain.pad_token or "",
                length=context,
            )
        # Settings that vectors depend on and that aren't in the tokenizer's JSON.
        padded = (context, plain.padding_side, plain.pad_token_id) if context else ()
        facts = (self._tokenizer.encode_special_tokens, self.masked, *padded)
        self.identity = f"sha256:{hashlib.sha256(f'{facts} {content}'.encode()).hexdigest()}"
        self._counted = lru_cache(8)(self._count)
        self._too_long = Notice(
            f"a text is longer than {self.most} tokens, and the rest is left out; said once"
        )

    @property
    def rule(self) -> str:
        """A few words on how long texts are cut, and short ones padded, for the identity."""
        which = "the first" if self.plain.truncation_side == "right" else "the last"
        padded = f", padded on the {self.plain.padding_side} to {self._context}" if self._context else ""
        return f"{which} {self.most} tokens{padded}" if self.most else f"all tokens{padded}"

    def read(self, text: str, prompt: str = "", suffix: str = "") -> tuple[Tensor, Tensor]:
        """Tokenize prompt, text and suffix to ids `[t]` and their own mask `[t]`; InputError if blank."""
        found = self._tokenizer.encode(prompt + text + suffix)
        self._require_words(found, text, prompt + suffix)
        if found.overflowing:
            self._too_long.give()
        return torch.tensor(found.ids), torch.tensor(found.attention_mask, dtype=torch.bool)

    def _require_words(self, found: Any, text: str, prompt: str) -> None:
        """Raise InputError where a tokenizer has left only its own marks, or only the prompt."""
        if found.overflowing or found.special_tokens_mask.count(0) > self._counted(prompt):
            return
        require_tokens(self._count(text) if prompt else 0, text)

    def _count(self, text: str) -> int:
        """Count the tokens of a text without the tokenizer's own marks."""
        count: int = self._tokenizer.encode(text).special_tokens_mask.count(0)
        return count

    def length(self, prompt: str) -> int:
        """Count the tokens that a prompt puts before a text, marks at the start included."""
        ids = self._tokenizer.encode(prompt).ids
        return len(ids) - (bool(ids) and ids[-1] in self.plain.all_special_ids)


def load_plain(checkpoint: Checkpoint) -> Any:
    """Load a checkpoint's tokenizer as transformers does; WeightsError where it has no fast one."""
    tokenizer = load_any(checkpoint)
    _require_fast(checkpoint, tokenizer)
    return tokenizer


def load_any(checkpoint: Checkpoint) -> Any:
    """Load a checkpoint's tokenizer as transformers does, fast or not; WeightsError where it can't be."""
    config = load_config(checkpoint) if checkpoint.base else None  # an adapter's folder has none
    checkpoint = checkpoint.holding(*_FILES)
    checkpoint.require(*_FILES)
    require_tokenizer(checkpoint.folder)
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint.folder, config=config, **SAFELY)
    except Exception as cause:  # missing packages, broken files and unknown kinds fail in their own ways
        raise WeightsError(
            f"the tokenizer of {checkpoint.name!r} can't be loaded: {describe_error(cause)}",
            culprit=str(checkpoint.folder),
            remedy="put its tokenizer.json and tokenizer_config.json there",
        ) from cause
    return tokenizer


def _require_fast(checkpoint: Checkpoint, tokenizer: Any) -> None:
    if not tokenizer.is_fast:
        raise WeightsError(
            f"the tokenizer of {checkpoint.name!r} is a {type(tokenizer).__name__}, which has no fast form",
            culprit=str(checkpoint.folder),
            remedy="choose a checkpoint whose tokenizer has one; another tokenizer_class in "
            "tokenizer_config.json would give other tokens, and so other vectors",
        )


def _keep_whole(tokenizer: Any, marks: tuple[str, ...]) -> None:
    """Have a tokenizer take marks that are in its vocabulary as tokens, which it would cut to pieces else.

    ColBERT and PyLate put them in by their ids; sentence-transformers does as is done here.
    """
    known = {*tokenizer.get_vocab(), *tokenizer.get_added_vocab()}
    words = [
        [word for word in (mark, *mark.split()[:1]) if word in known][:1] for mark in marks if mark.strip()
    ]
    special = [
        AddedToken(word, normalized=False, special=True)
        for (word,) in filter(None, words)
        if tokenizer.tokenize(word) != [word]
    ]
    if special:
        tokenizer.add_special_tokens({"additional_special_tokens": special})


def _lower(tokenizer: Tokenizer) -> None:
    own = tokenizer.normalizer
    tokenizer.normalizer = Lowercase() if own is None else Sequence([Lowercase(), own])


def _first(*values: int | None) -> int:
    return next(int(value) for value in values if value is not None)
