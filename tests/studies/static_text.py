"""WordLlama (MIT, from its wheel) as a text encoder with a space of its own, as a plugin would declare it."""

from __future__ import annotations

from pathlib import Path

import torch
import wordllama
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from mmencode import Encoder, EncoderSpec

SPEC = EncoderSpec(
    name="wordllama", modality="text", target="static_text:StaticText", dim=256, requires=("wordllama",)
)


class StaticText(Encoder):
    """The mean of its tokens' vectors, whatever their order."""

    width = 256
    preprocessing = tokenizer = "WordLlama l2_supercat"
    pooling = "mean"

    def __init__(self) -> None:
        super().__init__()
        wheel = Path(wordllama.__file__).parent  # where its own search overlooks the tokenizer
        self._llama = wordllama.WordLlama.load(cache_dir=wheel, disable_download=True)
        self.vectors = nn.Parameter(torch.from_numpy(self._llama.embedding).float())

    def preprocess(self, item: str) -> dict[str, Tensor]:
        """Token ids `[t]`."""
        return {"ids": torch.tensor(self._llama.tokenize([item])[0].ids)}

    def collate(self, items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """All ids, one text's after the other's, and where each text begins `[b]`."""
        rows = [item["ids"] for item in items]
        starts = torch.tensor([0, *[len(row) for row in rows[:-1]]]).cumsum(0)
        return {"ids": torch.cat(rows), "starts": starts}

    def forward(self, tensors: dict[str, Tensor]) -> Tensor:
        """Features `[b, 256]`."""
        return embedding_bag(tensors["ids"], self.vectors, tensors["starts"], mode="mean")
