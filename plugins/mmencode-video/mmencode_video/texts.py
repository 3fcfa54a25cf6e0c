"""The text towers of video models: tokenized by the tokenizers library, which threads may share."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoTokenizer

from mmencode import Encoder, Tensors
from mmencode.checkpoints import describe_error, require_file, require_tokenizer, require_tokens
from mmencode.encoder import Notice, pad_rows
from mmencode.errors import WeightsError

from .checkpoints import Checkpoint

_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_LARGEST = 2**28  # bytes of a tokenizer's file


class TextTower(Encoder):
    """A text tower; texts are cut to `context` tokens, and with `whole` all padded to that many."""

    def __init__(self, checkpoint: Checkpoint, context: int, *, whole: bool) -> None:
        super().__init__()
        plain = _load(checkpoint)
        self._padding = int(plain.pad_token_id or 0)
        self._most, self._whole = context, whole
        self._reader = Tokenizer.from_str(plain.backend_tokenizer.to_str())
        self._reader.no_padding()
        self._reader.no_truncation()
        content = f"{self._padding} {self._reader.to_str()}"
        self._reader.enable_truncation(context)
        self._too_long = Notice(
            f"a text is longer than {context} tokens, and the rest is left out; said once"
        )
        self.tokenizer = f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"
        self.preprocessing = f"the first {context} tokens" + (", padded to as many" if whole else "")

    def preprocess(self, item: str) -> Tensors:
        """Tokenize a text to ids `[t]`; InputError for one of which no token is left."""
        found = self._reader.encode(item)
        require_tokens(found.special_tokens_mask.count(0), item)
        if found.overflowing:
            self._too_long.give()
        return {"ids": torch.tensor(found.ids)}

    def collate(self, items: list[Tensors]) -> Tensors:
        """Pad ids to the longest row, or to the whole context, with their mask `[b, t]`."""
        ids, mask = pad_rows([item["ids"] for item in items], self._padding)
        if self._whole:
            more = (0, self._most - ids.shape[1])
            ids = torch.nn.functional.pad(ids, more, value=self._padding)
            mask = torch.nn.functional.pad(mask, more)
        return {"ids": ids, "mask": mask}

    def cost(self, tensors: Tensors) -> int:
        """The number of tokens."""
        return len(tensors["ids"])

    @abstractmethod
    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]`."""


def _load(checkpoint: Checkpoint) -> Any:
    for file in _FILES:
        if (checkpoint.folder / file).exists():
            require_file(checkpoint.folder / file, "put the checkpoint's own there", _LARGEST)
    if (checkpoint.folder / "tokenizer_config.json").exists():
        checkpoint.read("tokenizer_config.json")
    require_tokenizer(checkpoint.folder)
    try:
        found: Any = AutoTokenizer.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=False
        )
        found.backend_tokenizer.to_str()
    except Exception as cause:  # missing files and unknown kinds fail in their own ways
        raise WeightsError(
            f"the tokenizer of {checkpoint.name!r} can't be loaded: {describe_error(cause)}",
            culprit=str(checkpoint.folder),
            remedy="put its tokenizer.json and tokenizer_config.json there",
        ) from cause
    return found
