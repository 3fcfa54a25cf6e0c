"""What an evaluation found, and on what: typed, as plain values, as text and as a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ..card import SpaceCard
from ..spaces.space import Space
from . import rendering
from .bootstrap import Sampling
from .origin import LeftOut

Task = Literal["zero-shot", "retrieval"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a report.

    name       what it is: "top-1", say, or "recall@5"
    of         the direction of a retrieval, such as "text to image"
    value      a share of 1, or a rank from 1 where `rank` is true
    interval   95 %, by the percentile bootstrap over items or queries; None for one of them
    chance     its expectation for a blind guess, which puts the candidates in any order
    constant   its value for the best answer that is always the same, which knows how frequent classes are
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    chance: float
    of: str = ""
    constant: float | None = None
    rank: bool = False


@dataclass(frozen=True, slots=True)
class ClassFigure:
    """How many items of a class were measured, and the share of them whose best label is theirs."""

    label: str
    count: int
    top1: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often the best label of items of one class was another one."""

    label: str
    taken_for: str
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Figures, and what they depend on.

    card         of the space; its towers of `modalities` were compared
    source       the data as the caller called it; `counts` say how much of it was measured
    digest       of the keys, labels and candidates that were measured: equal ones are the same data
    classes      in order of name; `confusions` the most frequent first, at most `CONFUSIONS` of them
    left_out     each row and item that no figure counts, with the reason
    """

    task: Task
    card: SpaceCard
    modalities: tuple[str, ...]
    source: str
    counts: Mapping[str, int]
    digest: str
    sampling: Sampling
    figures: tuple[Figure, ...]
    templates: tuple[str, ...] = ()
    classes: tuple[ClassFigure, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    def figure(self, name: str, of: str = "") -> Figure:
        """The figure of that name and direction; KeyError, with those that there are, for no such one."""
        for found in self.figures:
            if (found.name, found.of) == (name, of):
                return found
        known = ", ".join(repr((found.name, found.of)) for found in self.figures)
        raise KeyError(f"no figure {(name, of)!r}, only {known}")

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold; lone surrogates of file names are escaped by it."""
        card = self.card.to_dict()
        towers = {name: tower for name, tower in card["towers"].items() if name in self.modalities}
        space = {"id": self.card.id, "fingerprint": self.card.fingerprint, "dim": self.card.dim}
        return {
            "task": self.task,
            "space": {**space, "towers": towers},
            "data": {"source": self.source, **self.counts, "digest": self.digest},
            "sampling": asdict(self.sampling),
            "templates": list(self.templates),
            "figures": [_plain(figure) for figure in self.figures],
            "classes": [asdict(found) for found in self.classes],
            "confusions": [asdict(found) for found in self.confusions],
            "left_out": [asdict(row) for row in self.left_out],
            "notes": list(self.notes),
        }

    def to_markdown(self) -> str:
        """As a page, with everything that the report holds."""
        return rendering.markdown(self)

    def __str__(self) -> str:
        """As text for a terminal: of the classes the ten weakest, of what was left out the reasons."""
        return rendering.text(self)


def card_of(space: Space) -> SpaceCard:
    """The card of a space, without vectors that a folder's card holds to verify with."""
    return replace(space.card, probes={})


def _plain(figure: Figure) -> dict[str, Any]:
    interval = None if figure.interval is None else list(figure.interval)
    return {**asdict(figure), "interval": interval}
