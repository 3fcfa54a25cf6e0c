"""The number of items that fit into a device's memory: a first guess, and what was learnt since."""

from __future__ import annotations

import sys

from .runtime import Runtime


class Budget:
    """The number of items that one forward pass of an encoder takes, after all that was learnt.

    Never more than `most`. Kept for items of about equal size together, since memory rarely grows in
    proportion to their size.
    """

    def __init__(self, most: int = sys.maxsize) -> None:
        self._highest = most
        self._most: dict[int, int] = {}

    def items(self, elements: int, runtime: Runtime) -> int:
        """The most items of up to that many elements in one pass; at least one."""
        most = min(self._highest, runtime.batch_size, runtime.batch_elements // max(1, elements))
        return max(1, min(most, self._most.get(elements.bit_length(), most)))

    def ran_out(self, elements: int, count: int) -> None:
        """Remember that memory ran out with `count` items, the largest of that many elements."""
        size = elements.bit_length()
        self._most[size] = max(1, min(self._most.get(size, count), count // 2))
