"""Zero-shot classification of labelled items, measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..card import hashed
from ..errors import InputError
from ..inputs.owning import kept
from ..retrieval import Numbers, Places, Rows
from ..space import Space
from ..spec import TEXT
from ..topk import whole
from ..zeroshot import Classifier
from .bootstrap import Sampling
from .origin import LeftOut, Origin
from .ranking import Ranking, ranking_of_scores
from .report import ClassFigure, Confusion, Figure, Report, card_of

DEPTHS = (1, 5)
CONFUSIONS = 20


@dataclass(frozen=True, slots=True)
class Row:
    """An item with its key and its label."""

    key: str
    item: Any
    label: str


def zero_shot(
    space: Space,
    modality: str,
    items: Sequence[Any],
    labels: Sequence[str],
    *,
    classes: Sequence[str] | None = None,
    templates: str | Sequence[str] | None = None,
    k: Sequence[int] | None = None,
    sampling: Sampling | None = None,
    origin: Origin | None = None,
    progress: bool = False,
) -> Report:
    """Classify items among all labels, or `classes`, and compare with the label of each.

    Figures are the accuracies at each k, the share of items whose own label is among the k best, and the
    mean over classes of their share at 1; labels with equal scores count as their order were drawn. By
    default k is 1 and 5, as far as there are so many classes. A sample is drawn of the items, while all
    classes stay candidates. Items that can't be encoded are left out and listed. Scores are held for a
    thousand items at a time.

    Raises InputError for a label that isn't among the classes, for fewer than two classes, for a k above
    their number, and when no item can be encoded; ValueError for a k below 1 and for lists of two lengths.
    """
    items, labels = list(kept(items)), list(labels)
    if len(items) != len(labels):
        raise ValueError(f"{len(items)} items have {len(labels)} labels: give one for each")
    sampling, origin = sampling or Sampling(), origin or Origin()
    names = candidates(labels, classes)
    depths, notes = depths_of(k, len(names), "classes", DEPTHS)
    keys = origin.keys_of(items)
    chosen = sampling.chosen(keys)
    rows = [Row(keys[place], items[place], labels[place]) for place in chosen]
    found = _classified(space, modality, rows, space.classifier(names, templates), progress)
    left_out = (*origin.left_out, *found.left_out)
    require_some(len(found.rows), left_out, origin.source)
    shares = tuple(found.class_figures())
    return Report(
        task="zero-shot",
        card=card_of(space),
        modalities=(modality, TEXT),
        source=origin.source,
        counts={"items": len(found.rows), "classes": len(names)},
        digest=hashed({"classes": names, "rows": sorted((row.key, row.label) for row in found.rows)}),
        sampling=sampling,
        templates=_said(templates) or (space.spec(modality).prompt,),
        figures=tuple(_figures(found, depths, sampling)),
        classes=shares,
        confusions=tuple(found.confusions()),
        left_out=left_out,
        notes=(*notes, *_absent(len(names), len(shares))),
    )


def _classified(
    space: Space, modality: str, rows: Sequence[Row], classifier: Classifier, progress: bool
) -> _Found:
    """The scores' order for each item, a part of the items at a time."""
    names = list(classifier.labels)
    places = {name: place for place, name in enumerate(names)}
    found = _Found(names)
    items = [row.item for row in rows]
    for part in space.stream(modality, items, on_error="skip", progress=progress):
        kept = [rows[place] for place in part.positions.tolist()]
        own = np.array([places[row.label] for row in kept], np.int64)
        found.add(kept, classifier.rank(part).scores, own)
        found.left_out += [LeftOut(rows[error.index or 0].key, error.fact) for error in part.errors]
    return found


def candidates(labels: Sequence[str], classes: Sequence[str] | None = None) -> list[str]:
    """The labels, or the classes, in order of name; InputError unless there are two that hold all labels."""
    names = sorted(set(labels if classes is None else classes))
    known = set(names)
    for place, label in enumerate(labels):
        if label not in known:
            raise InputError(
                f"the label {label!r} is none of the {len(names)} classes",
                source=f"label {place}",
                remedy="add it to the classes, or leave its items out",
                index=place,
            )
    if len(names) < 2:
        raise InputError(
            f"there is one class, {names[0]!r}" if names else "there are no items",
            source="the labels",
            remedy="give items of two or more classes: among one, every answer is right",
        )
    return names


def depths_of(
    k: Sequence[int] | None, count: int, what: str, usual: Sequence[int]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The depths to measure at, and a note about usual ones that are too large.

    Of those that were asked for, ValueError for one below 1, InputError for one above `count`.
    """
    asked = [whole(depth) for depth in k or ()]
    for depth in asked:
        if depth > count:
            raise InputError(
                f"k is {depth}, and there are {count} {what}",
                source="the depths",
                remedy=f"make it at most {count}, where every answer is found",
            )
    if asked:
        return tuple(sorted(set(asked))), ()
    large = [depth for depth in usual if depth > count]
    said = f"k = {', '.join(map(str, large))} left out: there are {count} {what}"
    return tuple(depth for depth in usual if depth <= count), (said,) if large else ()


def require_some(count: int, left_out: Sequence[LeftOut], source: str) -> None:
    """InputError, with the first reason, when nothing can be measured."""
    if count:
        return
    first = f"; the first: {left_out[0].source}, {left_out[0].reason}" if left_out else ""
    raise InputError(
        f"none of {len(left_out)} items can be measured{first}",
        source=source or "the items",
        remedy="check the paths: those in a table are relative to it",
    )


def _said(templates: str | Sequence[str] | None) -> tuple[str, ...]:
    """The templates as a report lists them; a set of them by its name."""
    return (templates,) if isinstance(templates, str) else tuple(templates or ())


def _absent(candidates: int, present: int) -> tuple[str, ...]:
    missing = candidates - present
    said = "1 class is a candidate" if missing == 1 else f"{missing} classes are candidates"
    return (f"{said} without a measured item",) if missing else ()


@dataclass(slots=True)
class _Found:
    """What was found so far: of each measured item its row, its class's place and that of the best one."""

    names: list[str]
    rows: list[Row] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    ranks: list[Ranking] = field(default_factory=list)
    own: list[Places] = field(default_factory=list)
    best: list[Places] = field(default_factory=list)

    def add(self, rows: Sequence[Row], scores: Rows, own: Places) -> None:
        """Take in the scores `[n, classes]` of items, and the place of each one's own class."""
        self.rows += rows
        self.ranks.append(ranking_of_scores(scores, list(own[:, None])))
        self.own.append(own)
        self.best.append(scores.argmax(axis=1))

    def values(self, depths: Sequence[int]) -> Numbers:
        """Whether each item's label is found at 1 and at each depth, and its class, `[n, 2 + depths]`."""
        ranks = Ranking.joined(self.ranks)
        found = [ranks.found(k) for k in (1, *depths)]
        return np.stack([*found, np.concatenate(self.own).astype(np.float64)], axis=1)

    def class_figures(self) -> Iterator[ClassFigure]:
        own, found = np.concatenate(self.own), self.values(())[:, 0]
        for place in np.unique(own).tolist():
            rows = found[own == place]
            yield ClassFigure(self.names[place], len(rows), float(rows.mean()))

    def confusions(self) -> list[Confusion]:
        pairs = zip(np.concatenate(self.own).tolist(), np.concatenate(self.best).tolist(), strict=True)
        counts = Counter(pair for pair in pairs if pair[0] != pair[1])
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:CONFUSIONS]
        return [Confusion(self.names[own], self.names[best], count) for (own, best), count in ordered]


def _figures(found: _Found, depths: Sequence[int], sampling: Sampling) -> Iterator[Figure]:
    values, count = found.values(depths), len(found.names)
    frequencies = np.sort(np.bincount(values[:, -1].astype(int)))[::-1] / len(values)
    means = _means(values)
    intervals = sampling.intervals(values, _means) if len(values) > 1 else [None] * len(means)
    for k, value, interval in zip(depths, means, intervals, strict=False):
        constant = float(frequencies[:k].sum())
        yield Figure(f"top-{k}", float(value), interval, k / count, constant=constant)
    constant = 1 / np.count_nonzero(frequencies)
    yield Figure("mean per class", float(means[-1]), intervals[-1], 1 / count, constant=float(constant))


def _means(values: Numbers) -> Numbers:
    """The share found at each depth, and the mean over the classes of that at 1."""
    own = values[:, -1].astype(np.int64)
    counts = np.bincount(own)
    sums = np.bincount(own, weights=values[:, 0])
    present = counts > 0
    return np.append(values[:, 1:-1].mean(axis=0), (sums[present] / counts[present]).mean())
