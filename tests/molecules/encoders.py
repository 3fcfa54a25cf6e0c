"""Encoders that count: elements of a molecule, and names of elements in a text."""

from __future__ import annotations

import torch
from torch import Tensor

from mmencode import Encoder

from .items import Molecule

NAMES = {"C": "carbon", "N": "nitrogen", "O": "oxygen"}


class Elements(Encoder):
    """The share of each element, and of all others."""

    width = 4
    preprocessing = "counts of C, N, O and others"

    def preprocess(self, item: Molecule) -> dict[str, Tensor]:
        assert type(item) is Molecule, f"preprocess got {type(item)}"
        counts = [float(item.atoms.count(symbol)) for symbol in NAMES]
        return {"counts": torch.tensor([*counts, len(item.atoms) - sum(counts) + 0.1])}

    def forward(self, tensors: dict[str, Tensor]) -> Tensor:
        return tensors["counts"]


class Words(Encoder):
    """The number of times that each element is named."""

    width = 4
    preprocessing = "counts of names"
    tokenizer = "none"

    def preprocess(self, item: str) -> dict[str, Tensor]:
        counts = [float(item.lower().count(name)) for name in NAMES.values()]
        rest = 0.1 + (sum(map(ord, item)) % 97) / 1000  # different texts have different vectors
        return {"counts": torch.tensor([*counts, rest])}

    def forward(self, tensors: dict[str, Tensor]) -> Tensor:
        return tensors["counts"]


class Lengths(Encoder):
    """Takes bytes, of which only the number counts."""

    width = 8
    preprocessing = "the number of bytes"

    def preprocess(self, item: bytes) -> dict[str, Tensor]:
        return {"length": torch.full((8,), float(len(item)))}

    def forward(self, tensors: dict[str, Tensor]) -> Tensor:
        return tensors["length"]
