"""One attempt at a window: the items that were computed, their outputs, and the errors of the others."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np

from ..embeddings.array_types import Positions
from ..errors import InputError
from .blame import make_failure
from .call import Prepared

Output = TypeVar("Output")


class Attempt(Generic[Output]):
    """The items of a window that were computed so far, in the order of their rows, and the failures."""

    errors: list[InputError]

    def __init__(self, items: list[Prepared]) -> None:
        self.items = items
        self.computed: list[Prepared] = []
        self.outputs: list[Output] = []
        self.errors = [item.error for item in items if item.error is not None]

    def add(self, batch: list[Prepared], output: Output) -> None:
        """Note a batch and what the tower made of it."""
        self.computed += batch
        self.outputs.append(output)

    def blame(self, row: int, fact: str) -> None:
        """Note what is wrong with a computed row."""
        item = self.computed[row]
        item.error = make_failure(fact, item.index, item.source)
        self.errors.append(item.error)

    def order(self) -> list[int]:
        """The computed rows that are good, in input order."""
        good = [row for row, item in enumerate(self.computed) if item.error is None]
        return sorted(good, key=lambda row: self.computed[row].index)

    def positions(self, order: list[int]) -> Positions:
        """The places in the input of these computed rows."""
        return np.array([self.computed[row].index for row in order], np.int64)
