"""Figures of a service: how many items its batches had, how long requests took, and why items failed."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(eq=False, slots=True)
class Spread:
    """A distribution of values over `bounds`: `counts` of those up to each, and of those above the last."""

    bounds: tuple[float, ...]
    counts: list[int] = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value where it belongs, and add it to the total."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(eq=False, slots=True)
class Counts:
    """The figures of one service since it was made.

    batches  items of a batch, by modality
    seconds  from a request's arrival to the answer of an item, by modality
    errors   items that failed, by modality and kind: an InputError's fault
    refused  requests that were refused as a whole, by the kind of error
    """

    batches: dict[str, Spread] = field(default_factory=dict)
    seconds: dict[str, Spread] = field(default_factory=dict)
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def add_batch(self, modality: str, items: int) -> None:
        """Count a batch of so many items."""
        self.batches.setdefault(modality, Spread(_SIZES)).add(items)

    def add_answer(self, modality: str, seconds: float, fault: str) -> None:
        """Count the answer of an item, with the kind of its error, "" for none."""
        self.seconds.setdefault(modality, Spread(_SECONDS)).add(seconds)
        if fault:
            self.errors[modality, fault] += 1
