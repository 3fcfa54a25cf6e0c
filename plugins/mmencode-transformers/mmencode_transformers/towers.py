"""The text towers of CLIP, SigLIP and CLAP: a text model, its own pooling and its projection."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmencode import Encoder, Tensors

from .words import Words


class TowerText(Encoder):
    """The text tower of a model with two towers; `projection` takes its pooled output to `[b, width]`.

    A tower with a `context` gets rows of that length, and pools there; what it attends to of the padding is
    what the checkpoint's tokenizer says (SigLIP all of it). The others' rows are padded to the longest of a
    batch, which CLIP's causal tower and the masked one of CLAP don't look at.
    """

    def __init__(self, tower: nn.Module, projection: nn.Module, width: int, words: Words) -> None:
        super().__init__()
        self.tower: Any = tower
        self.projection = projection
        self.width = width
        self._words = words
        self.preprocessing = words.rule
        self.tokenizer = words.identity
        self.pooling = f"{type(tower).__name__}, its own pooling"

    def preprocess(self, item: str) -> Tensors:
        """Token ids `[t]` and the mask `[t]` of the text's own."""
        ids, mask = self._words.read(item)
        return {"ids": ids, "mask": mask}

    def collate(self, items: list[Tensors]) -> Tensors:
        """Pad ids and mask to the longest row, `[b, t]`."""
        padding = {"ids": self._words.padding, "mask": False}
        return {
            key: pad_sequence([item[key] for item in items], batch_first=True, padding_value=value)
            for key, value in padding.items()
        }

    def cost(self, tensors: Tensors) -> int:
        """The number of tokens."""
        return len(tensors["ids"])

    def forward(self, tensors: Tensors) -> Tensor:
        """Features `[b, width]`, as the model's `get_text_features` gives them, up to their length."""
        features: Tensor = self.projection(self._outputs(tensors).pooler_output)
        return features

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """The last layer's outputs `[b, t, hidden]` and the mask of the text's own tokens."""
        return self._outputs(tensors).last_hidden_state, tensors["mask"]

    def _outputs(self, tensors: Tensors) -> Any:
        mask = tensors["mask"] if self._words.masked else torch.ones_like(tensors["mask"])
        return self.tower(input_ids=tensors["ids"], attention_mask=mask.long())
