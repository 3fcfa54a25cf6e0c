"""The figures of an evaluation: numbers with their intervals and chance levels, classes and confusions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a report.

    name       "top-1", say, or "recall@5"
    of         the direction of a retrieval, such as "text to image"
    value      a share of 1, or a rank from 1 where `rank` is true
    interval   95 %, by the percentile bootstrap over items or queries; None where only one was measured
    chance     the expected value for a blind guess, which puts the candidates in any order
    constant   the value for the best answer that is the same for all items: the most frequent classes
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    chance: float
    of: str = ""
    constant: float | None = None
    rank: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Convert the figure to plain values that JSON can hold."""
        interval = None if self.interval is None else list(self.interval)
        return {**asdict(self), "interval": interval}


@dataclass(frozen=True, slots=True)
class ClassFigure:
    """The accuracy of one class.

    count   items of the class that were measured
    top1    the share of them whose best label is the class
    """

    label: str
    count: int
    top1: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """The number of items of the class `label` whose best label is another one, `taken_for`."""

    label: str
    taken_for: str
    count: int
