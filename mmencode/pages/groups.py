"""What colours the points of a map: a name for each row, few enough of them to tell apart."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

MOST = 10  # groups that have a colour of their own
BINS = 5
OTHERS = "all others"
NOTHING = "no value"


@dataclass(frozen=True, slots=True)
class Grouping:
    """Rows by what they have in common: `members[i]` is the place of row i's group in `groups`.

    `ordered` groups are parts of a range of numbers, from the lowest on; the rest is in order of size.
    `rest` is whether the last group holds what has no group of its own.
    """

    name: str
    groups: tuple[str, ...]
    members: tuple[int, ...]
    ordered: bool = False
    rest: bool = False

    def counts(self) -> list[int]:
        """How many rows each group has."""
        counted = Counter(self.members)
        return [counted[place] for place in range(len(self.groups))]

    def of(self, row: int) -> str:
        """The name of a row's group."""
        return self.groups[self.members[row]]


def grouped(name: str, values: Sequence[Any]) -> Grouping:
    """Group rows by a value of each, None for none.

    Numbers of more than MOST kinds become BINS ranges of about as many rows each; of other values, the MOST
    most frequent have a group, and the others one together.
    """
    values = [None if isinstance(value, float) and math.isnan(value) else value for value in values]
    given = [value for value in values if value is not None]
    if all(map(_is_number, given)) and len(set(given)) > MOST:
        return _ranges(name, values, sorted(given))
    words = [NOTHING if value is None else str(value) for value in values]
    counted = Counter(words)
    counted.pop(NOTHING, None)
    frequent = [word for word, _ in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))]
    return _placed(name, frequent[:MOST], words)


def numbered(name: str, members: Sequence[int], labels: Sequence[str]) -> Grouping:
    """Group rows by the place of a label each, in the labels' own order."""
    return _placed(name, list(labels)[:MOST], [labels[place] for place in members])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _ranges(name: str, values: Sequence[Any], ranked: Sequence[float]) -> Grouping:
    """Ranges of numbers between quantiles that differ; each holds its lower end, the last both."""
    ends = sorted({ranked[(len(ranked) - 1) * place // BINS] for place in range(BINS + 1)})
    labels = [f"{_short(low)} to {_short(high)}" for low, high in pairwise(ends)]
    words = [NOTHING if value is None else labels[_bin(value, ends)] for value in values]
    return _placed(name, labels, words, ordered=True)


def _bin(value: float, ends: Sequence[float]) -> int:
    return max(0, min(sum(end <= value for end in ends) - 1, len(ends) - 2))


def _short(value: float) -> str:
    return f"{value:.6g}"


def _placed(name: str, groups: list[str], words: Sequence[str], *, ordered: bool = False) -> Grouping:
    """Each word's place among the groups, and one more for those that have none, where there are any."""
    places = {word: place for place, word in enumerate(groups)}
    left = set(words) - set(places)
    last = NOTHING if left == {NOTHING} else OTHERS
    members = tuple(places.get(word, len(groups)) for word in words)
    return Grouping(name, (*groups, last) if left else tuple(groups), members, ordered, bool(left))
