"""The report of an evaluation: figures and what they depend on, as plain values, text and Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ..arguments.brief import Brief
from ..card import SpaceCard
from ..spaces.space import Space
from .bootstrap import Sampling
from .figures import ClassFigure, Confusion, Figure
from .origin import LeftOut
from .rendering import markdown, plain_text
from .tables import class_table, confusion_table, figure_table, omission_lines, omission_table

Task = Literal["zero-shot", "retrieval"]


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Report(Brief):
    """Figures, and all that they depend on.

    card         of the space; its towers of `modalities` were compared
    source       the data as the caller called it; `counts` say how much of it was measured
    digest       of the keys, labels and candidates that were measured: equal ones are the same data
    templates    the prompts of the labels, or the name of a set of them
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
        """Find the figure of that name and direction; KeyError, which lists those of the report, for none."""
        for figure in self.figures:
            if (figure.name, figure.of) == (name, of):
                return figure
        known = ", ".join(repr((figure.name, figure.of)) for figure in self.figures)
        raise KeyError(f"no figure {(name, of)!r}, only {known}")

    def to_dict(self) -> dict[str, Any]:
        """Convert the report to plain values that JSON can hold, which escapes lone surrogates in names."""
        card = self.card.to_dict()
        towers = {name: tower for name, tower in card["towers"].items() if name in self.modalities}
        space = {"id": self.card.id, "fingerprint": self.card.fingerprint, "dim": self.card.dim}
        return {
            "task": self.task,
            "space": {**space, "towers": towers},
            "data": {"source": self.source, **self.counts, "digest": self.digest},
            "sampling": asdict(self.sampling),
            "templates": list(self.templates),
            "figures": [figure.to_dict() for figure in self.figures],
            "classes": [asdict(each) for each in self.classes],
            "confusions": [asdict(each) for each in self.confusions],
            "left_out": [asdict(each) for each in self.left_out],
            "notes": list(self.notes),
        }

    def to_markdown(self) -> str:
        """Write a Markdown page with everything that the report holds."""
        facts = [*self._facts(), f"fingerprint {self.card.fingerprint}"]
        tables = (
            figure_table(self.figures),
            class_table(self.classes),
            confusion_table(self.confusions),
            omission_table(self.left_out),
        )
        return markdown(self._title(), facts, tables)

    def _repr_markdown_(self) -> str:
        """The figures, the weakest classes and the most frequent confusions, as notebooks show them."""
        facts = [*self._facts(), *omission_lines(self.left_out)]
        whole = (figure_table(self.figures), class_table(self.classes), confusion_table(self.confusions))
        tables = [replace(table, rows=table.rows[: table.most]) for table in whole]
        return markdown(self._title(), facts, tables)

    def __str__(self) -> str:
        """Write text for a terminal: all figures, the ten weakest classes, and reasons for items left out."""
        facts = [*self._facts(), *omission_lines(self.left_out)]
        tables = (figure_table(self.figures), class_table(self.classes), confusion_table(self.confusions))
        return plain_text(self._title(), facts, tables)

    def _title(self) -> str:
        return f"{self.task} in {self.card.id}"

    def _facts(self) -> Iterator[str]:
        for tower in self.card.towers:
            if tower.modality in self.modalities:
                yield f"{tower.key}: {tower.name}"
        if self.source:
            yield f"data: {self.source}"
        counts = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        yield f"measured: {counts}; {len(self.left_out)} left out; digest {self.digest[:16]}"
        sampling = self.sampling
        if sampling.sample is not None:
            yield f"sample of {sampling.sample}, seed {sampling.seed}"
        yield f"intervals: 95 %, {sampling.resamples} bootstrap resamples, seed {sampling.seed}"
        if self.templates:
            yield f"templates: {'; '.join(self.templates)}"
        yield from self.notes


def card_of(space: Space) -> SpaceCard:
    """The card of a space, without the vectors that the card of a saved space holds for `verify`."""
    return replace(space.card, probes={})
