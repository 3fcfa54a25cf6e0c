"""Groups that colour the points of a map, few enough to tell apart."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

MOST = 10  # groups with a colour of their own
BINS = 5
OTHERS = "all others"
NOTHING = "no value"


@dataclass(frozen=True, slots=True)
class Grouping:
    """A partition of rows into named groups; `members[i]` is the place in `groups` of row i's group.

    ordered   whether the groups are ranges of numbers, from the lowest on; else the largest come first
    rest      whether the last group holds all rows that have no group of their own
    """

    name: str
    groups: tuple[str, ...]
    members: tuple[int, ...]
    ordered: bool = False
    rest: bool = False

    def counts(self) -> list[int]:
        """The number of rows in each group."""
        counted = Counter(self.members)
        return [counted[place] for place in range(len(self.groups))]

    def of(self, row: int) -> str:
        """The name of a row's group."""
        return self.groups[self.members[row]]


def group_values(name: str, values: Sequence[Any]) -> Grouping:
    """Group rows by the value of each, where None and NaN mean that a row has none.

    More than MOST distinct numbers become BINS ranges of about equal numbers of rows. Of other values, the
    MOST most frequent have a group each, and the others share one.
    """
    values = [None if isinstance(value, float) and math.isnan(value) else value for value in values]
    given = [value for value in values if value is not None]
    if all(map(_is_number, given)) and len(set(given)) > MOST:
        return _ranges(name, values, sorted(given))
    words = [NOTHING if value is None else str(value) for value in values]
    counted = Counter(words)
    counted.pop(NOTHING, None)
    frequent = [word for word, _ in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))]
    return _assign(name, frequent[:MOST], words)


def group_labels(name: str, members: Sequence[int], labels: Sequence[str]) -> Grouping:
    """Group rows by their labels, given as places in `labels`, whose order the groups keep."""
    return _assign(name, list(labels)[:MOST], [labels[place] for place in members])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _ranges(name: str, values: Sequence[Any], ranked: Sequence[float]) -> Grouping:
    """Group numbers into ranges between distinct quantiles; a range holds its lower end, the last both."""
    ends = sorted({ranked[(len(ranked) - 1) * place // BINS] for place in range(BINS + 1)})
    labels = [f"{_short(low)} to {_short(high)}" for low, high in pairwise(ends)]
    words = [NOTHING if value is None else labels[_bin(value, ends)] for value in values]
    return _assign(name, labels, words, ordered=True)


def _bin(value: float, ends: Sequence[float]) -> int:
    return max(0, min(sum(end <= value for end in ends) - 1, len(ends) - 2))


def _short(value: float) -> str:
    return f"{value:.6g}"


def _assign(name: str, groups: list[str], words: Sequence[str], *, ordered: bool = False) -> Grouping:
    """Assign each word to the group of its name, and words without one to a last group."""
    places = {word: place for place, word in enumerate(groups)}
    left = set(words) - set(places)
    last = NOTHING if left == {NOTHING} else OTHERS
    members = tuple(places.get(word, len(groups)) for word in words)
    return Grouping(name, (*groups, last) if left else tuple(groups), members, ordered, bool(left))
