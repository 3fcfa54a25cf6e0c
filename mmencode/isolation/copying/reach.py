"""Find every value that a network holds, and mark those that a copy of it must replace."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from torch import Tensor, nn

from .kinds import ATOMS, MUTABLE, REFERENCES, is_object, parts, referent


class Reach:
    """The values that a network holds, directly or not, and in `touched` the ids that a copy must replace.

    These are modules and tensors, the containers that modules hold, and every value that holds one of them,
    so that no part of the copy leads back into the original. A container inside another object, such as a
    tokenizer's vocabulary, is shared with that object.
    """

    def __init__(self, root: nn.Module) -> None:
        self.values: dict[int, Any] = {}  # by id; kept alive, so that no id is used twice
        self._holders: dict[int, list[int]] = defaultdict(list)
        self.touched: set[int] = set()
        self._mark(self._find(root))

    def _find(self, root: nn.Module) -> list[int]:
        """Walk through all values, and return the ids of those that must be replaced whatever they hold."""
        fresh: list[int] = []
        waiting: list[tuple[Any, bool]] = [(root, True)]
        # By id, whether a path to the value passes through modules and containers only.
        reached: dict[int, bool] = {}
        while waiting:
            value, own = waiting.pop()
            key, kind = id(value), type(value)
            if reached.get(key, False) or (key in reached and not own):
                continue
            reached[key] = own
            self.values[key] = value
            is_module = issubclass(kind, nn.Module)
            if is_module or issubclass(kind, Tensor) or (own and issubclass(kind, MUTABLE)):
                fresh.append(key)
            own = is_module or (own and not is_object(kind))
            for part in parts(value, keys=own):
                if type(part) not in ATOMS:
                    self._holders[id(part)].append(key)
                    waiting.append((part, own))
        return fresh

    def _mark(self, fresh: list[int]) -> None:
        """Mark these values, all that hold them, and weak references to marked values."""
        references = [key for key, value in self.values.items() if type(value) in REFERENCES]
        while fresh:
            key = fresh.pop()
            if key not in self.touched:
                self.touched.add(key)
                fresh += self._holders[key]
            if not fresh:
                fresh = [
                    key
                    for key in references
                    if key not in self.touched and id(referent(self.values[key])) in self.touched
                ]
