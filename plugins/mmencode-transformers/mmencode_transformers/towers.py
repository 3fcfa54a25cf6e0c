"""Text towers of CLIP, SigLIP, CLAP and their kin: a text model, its pooling and its projection."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmencode import Encoder, Tensors

from .tokenizer import Reader


class TowerText(Encoder):
    """The text tower of a model with two towers; `projection` takes its pooled output to `[b, width]`.

    A tokenizer with a `context` pads all rows to that length, as SigLIP was trained, and its mask says which
    padding the tower attends to (SigLIP: all of it). Other rows are padded to the longest of a batch; CLIP's
    causal tower and CLAP's masked one don't look at that padding.
    """

    def __init__(self, tower: nn.Module, projection: nn.Module, width: int, tokenizer: Reader) -> None:
        super().__init__()
        self.tower: Any = tower
        self.projection = projection
        self.width = width
        self._reader = tokenizer
        self.preprocessing = tokenizer.rule
        self.tokenizer = tokenizer.identity
        self.pooling = f"{type(tower).__name__}, its own pooling"

    def preprocess(self, item: str) -> Tensors:
        """Tokenize a text to ids `[t]`, with the mask `[t]` of the text's own."""
        ids, mask = self._reader.read(item)
        return {"ids": ids, "mask": mask}

    def collate(self, items: list[Tensors]) -> Tensors:
        """Pad ids and mask to the longest row, `[b, t]`."""
        padding = {"ids": self._reader.padding, "mask": False}
        return {
            key: pad_sequence([item[key] for item in items], batch_first=True, padding_value=value)
            for key, value in padding.items()
        }

    def cost(self, tensors: Tensors) -> int:
        """The number of tokens."""
        return len(tensors["ids"])

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]`, those of the model's `get_text_features` up to their length."""
        features: Tensor = self.projection(self.pool(self._outputs(tensors)))
        return features

    def pool(self, outputs: Any) -> Tensor:
        """Take one vector `[b, hidden]` for each text from the tower's outputs."""
        pooled: Tensor = outputs.pooler_output
        return pooled

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute the last layer's outputs `[b, t, hidden]` and the mask of the text's own tokens."""
        return self._outputs(tensors).last_hidden_state, tensors["mask"]

    def _outputs(self, tensors: Tensors) -> Any:
        mask = tensors["mask"] if self._reader.masked else torch.ones_like(tensors["mask"])
        return self.tower(input_ids=tensors["ids"], attention_mask=mask.long())


class FirstTokenText(TowerText):
    """The text tower of AltCLIP or Chinese-CLIP, whose first token stands for the text."""

    def __init__(self, tower: nn.Module, projection: nn.Module, width: int, tokenizer: Reader) -> None:
        super().__init__(tower, projection, width, tokenizer)
        self.pooling = f"{type(tower).__name__}, the first token"

    def pool(self, outputs: Any) -> Tensor:
        """Take the first token of each text, `[b, hidden]`."""
        first: Tensor = outputs.last_hidden_state[:, 0]
        return first
