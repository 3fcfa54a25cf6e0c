"""Check the items of a composite encoder: that each part counts, may be absent, and stays with its item."""

from __future__ import annotations

from typing import Any
from unittest import SkipTest

import numpy as np

from ...errors import InputError
from ...plugins.composites import INTERLEAVED
from .suite import Suite


class CompositeChecks(Suite):
    """Checks that a vector depends on all parts of its item, and on those of no other."""

    def whole_items(self) -> list[Any]:
        """Give the items under test that have all of their parts; skip the check where items have none."""
        if not self.get_spec().parts:
            raise SkipTest("only for encoders of composites")
        found = [item for item in self.samples() if all(part is not None for part in item)]
        if len(found) < 2:
            raise SkipTest("it needs two items with all of their parts")
        return found

    def test_every_part_counts(self) -> None:
        """No part is ignored in silence: another one gives another vector."""
        first, second = self.whole_items()[:2]
        for place in range(min(len(first), len(second))):
            other = _with_part(first, place, second[place])
            vectors = self.encode([first, other]).vectors
            distance = float(np.abs(vectors[0] - vectors[1]).max())
            assert distance > self.tolerance, f"another part {place} changes nothing"

    def test_absent_part_is_left_out_or_refused(self) -> None:
        """An item with one part alone has a vector, or an error that says why it can't have one."""
        first = self.whole_items()[0]
        for item in _single_parts(first):
            try:
                self.encode([item])
            except InputError as error:
                fault, fact = error.fault, error.fact
            else:
                continue
            assert fault == "content", f"without the other parts: {fact}"

    def test_items_with_other_parts_are_no_neighbours_in_a_vector(self) -> None:
        """Items with all parts and with one share a batch, and none gets anything of another."""
        items = [item for first in self.whole_items()[:3] for item in [first, *_single_parts(first)]]
        taken = [item for item in items if self._is_taken(item)]
        alone = [self.encode([item]).vectors[0] for item in taken]
        self.assert_equal(self.encode(taken), np.stack(alone), "in a batch and alone")
        self.assert_equal(self.encode(taken[::-1]), np.stack(alone[::-1]), "reversed, and alone")

    def test_parts_that_repeat_count(self) -> None:
        """Later parts of a modality that comes several times in an item aren't dropped."""
        first, second = self.whole_items()[:2]
        if self.get_spec().modality != INTERLEAVED:
            raise SkipTest("only for interleaved items")
        for place in range(len(second)):
            long = [*first, *second]
            if not self._is_taken(long):
                raise SkipTest("the encoder refuses items with several parts of one modality")
            changed = [*first, *_with_part(second, place, first[place])]
            vectors = self.encode([long, changed]).vectors
            distance = float(np.abs(vectors[0] - vectors[1]).max())
            assert distance > self.tolerance, f"another part {len(first) + place} changes nothing"

    def _is_taken(self, item: Any) -> bool:
        """Whether the encoder gives a vector for an item, which it may refuse by an InputError."""
        try:
            self.encode([item])
        except InputError as error:
            if error.fault != "content":
                raise
            return False
        return True


def _with_part(item: Any, place: int, part: Any) -> Any:
    """Make an item with another part in one place, of the kind of the item."""
    parts = list(item)
    parts[place] = part
    return type(item)(parts)


def _single_parts(item: Any) -> list[Any]:
    """Make items with each part of one alone."""
    if isinstance(item, list):
        return [[pair] for pair in item]
    return [
        tuple(part if place == kept else None for place, part in enumerate(item)) for kept in range(len(item))
    ]
