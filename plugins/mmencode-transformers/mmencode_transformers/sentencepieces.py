"""SigLIP's own tokenizer, which transformers has only as a Python class over the sentencepiece library."""

from __future__ import annotations

import hashlib
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from mmencode.checkpoints import describe_error, require_file, require_tokens
from mmencode.encoder import Notice
from mmencode.errors import MissingPackageError, WeightsError

from .sources import Checkpoint
from .tokenizer import CheckpointTokenizer, Reader, load_any

_CLASS, _FILE, _SETTINGS = "SiglipTokenizer", "spiece.model", "tokenizer_config.json"
_LARGEST = 2**26  # bytes; those of a quarter of a million pieces have five millions
_LONGEST = 2**10  # bytes that one character is replaced by; Unicode's longest, an Arabic ligature's, has 33


def tokenizer_of(checkpoint: Checkpoint, config: Any, most: int, context: int) -> Reader:
    """Load the tokenizer of a text tower: a fast one, or SigLIP's own class over sentencepiece.

    `config` is the text tower's, and `context` the number of tokens that every row is padded to; with 0, rows
    are padded to the longest of a batch. Raises WeightsError as CheckpointTokenizer does, and
    MissingPackageError where sentencepiece isn't installed.
    """
    place = checkpoint.holding(_FILE, "tokenizer.json")
    named = place.settings(_SETTINGS) if place.has(_SETTINGS) else {}
    if config.model_type == "siglip_text_model" and named.get("tokenizer_class") in (None, _CLASS):
        _require_plain(place, named)
        plain = load_any(checkpoint)
        if type(plain).__name__ == _CLASS:
            return SiglipPieces(plain, most, context)
    return CheckpointTokenizer(checkpoint, config, most, context=context)


class SiglipPieces:
    """Tokenizes texts as transformers' SiglipTokenizer does: in lower case, without punctuation.

    The class isn't changed after construction, and what is called here only reads it, so threads share it.

    most     the largest number of tokens, the mark of the end included
    context  the number of tokens that every row is padded to; with 0 rows aren't padded here
    """

    def __init__(self, plain: Any, most: int, context: int) -> None:
        self.plain = plain
        self.masked = "attention_mask" in plain.model_input_names
        self.padding = int(plain.pad_token_id)
        self.most = min(most, plain.model_max_length)
        self._context = context
        self._too_long = Notice(
            f"a text is longer than {self.most} tokens, and the rest is left out; said once"
        )
        self.identity = f"sha256:{self._digest()}"

    def _digest(self) -> str:
        plain = self.plain
        added = sorted((place, repr(token)) for place, token in plain.added_tokens_decoder.items())
        padded = (self._context, plain.padding_side, plain.pad_token_id)
        marks = (plain.eos_token_id, plain.unk_token, plain.do_lower_case, plain.split_special_tokens)
        facts = f"{_CLASS} {marks} {padded} {self.masked} {added}"
        return hashlib.sha256(facts.encode() + plain.sp_model.serialized_model_proto()).hexdigest()

    @property
    def rule(self) -> str:
        """A few words on how texts are canonicalised, cut and padded, for the identity."""
        which = "the first" if self.plain.truncation_side == "right" else "the last"
        case = ", in lower case" if self.plain.do_lower_case else ""
        padded = f", padded on the {self.plain.padding_side} to {self._context}" if self._context else ""
        return f"without punctuation{case}, {which} {self.most} tokens{padded}"

    def read(self, text: str, prompt: str = "") -> tuple[Tensor, Tensor]:
        """Tokenize a text to ids `[t]` and the mask `[t]` of its own; InputError if nothing is left of it."""
        ids = self.plain.convert_tokens_to_ids(self.plain.tokenize(prompt + text))
        require_tokens(len(ids), text)
        room = self.most - 1
        if len(ids) > room:
            self._too_long.give()
            ids = ids[:room] if self.plain.truncation_side == "right" else ids[-room:]
        if not ids or ids[-1] != self.plain.eos_token_id:  # one that is there isn't doubled
            ids = [*ids, self.plain.eos_token_id]
        filled = [self.padding] * max(0, self._context - len(ids))
        own = [True] * len(ids)
        rows = (ids, filled), (own, [False] * len(filled))
        left = self.plain.padding_side == "left"
        whole, mask = (second + first if left else first + second for first, second in rows)
        return torch.tensor(whole), torch.tensor(mask, dtype=torch.bool)


def _require_plain(checkpoint: Checkpoint, named: dict[str, Any]) -> None:
    """Raise unless SigLIP's tokenizer can be loaded, samples nothing and multiplies no text."""
    checkpoint.require(_FILE)
    path = checkpoint.folder / _FILE
    if not (find_spec("sentencepiece") and find_spec("google.protobuf")):
        raise MissingPackageError(
            f"the tokenizer of {checkpoint.name!r} is a {_CLASS}, which needs sentencepiece and protobuf",
            culprit=str(path),
            remedy='pip install "mmencode-transformers[siglip]"',
        )
    if named.get("sp_model_kwargs"):
        raise WeightsError(
            f"the tokenizer of {checkpoint.name!r} has settings of sentencepiece: {named['sp_model_kwargs']}",
            culprit=str(checkpoint.folder / _SETTINGS),
            remedy="take sp_model_kwargs away; with sampling, a text would have another vector each time",
        )
    require_file(path, "fetch it again", _LARGEST)
    longest = _longest_replacement(checkpoint)
    if longest > _LONGEST:
        raise WeightsError(
            f"{str(path)!r} lets one character become {longest} bytes",
            remedy=f"put the checkpoint's own {_FILE} there; {_LONGEST} are the most",
        )


def _longest_replacement(checkpoint: Checkpoint) -> int:
    """The bytes of the longest text that the model's normalisation puts in place of a character."""
    messages: Any = import_module("sentencepiece.sentencepiece_model_pb2")  # few checkpoints need it
    path = checkpoint.folder / _FILE
    try:
        model = messages.ModelProto.FromString(path.read_bytes())
    except Exception as cause:  # protobuf's own errors
        raise WeightsError(
            f"{str(path)!r} can't be read: {describe_error(cause)}", remedy="fetch the checkpoint again"
        ) from cause
    replacements = model.normalizer_spec.precompiled_charsmap
    behind = 4 + int.from_bytes(replacements[:4], "little")  # the size of the trie, and the trie
    return max(map(len, replacements[behind:].split(b"\0")), default=0)
