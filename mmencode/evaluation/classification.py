"""The accuracy of zero-shot classification on labelled items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np

from ..arguments.counts import require_positive
from ..arguments.lists import to_list, to_strings
from ..card import json_digest
from ..embeddings.array_types import Numbers, Positions, Vectors
from ..errors import InputError
from ..inputs.batches import as_batch
from ..inputs.owning import own_each
from ..plugins.modalities import prompt_of
from ..plugins.spec import TEXT
from ..spaces.space import Space
from ..zeroshot import Classifier, Duplicates
from .bootstrap import Sampling
from .figures import ClassFigure, Confusion, Figure
from .origin import LeftOut, Origin
from .ranking import Ranking, rank_by_scores
from .report import Report, card_of

DEPTHS = (1, 5)
CONFUSIONS = 20


@dataclass(frozen=True, slots=True)
class LabelledItem:
    """An item with its key, its label, and the place of the label among the classes."""

    key: str
    item: Any
    label: str
    place: int


def zero_shot(
    space: Space,
    modality: str,
    items: Sequence[Any],
    labels: Sequence[str] | Sequence[int],
    *,
    classes: Sequence[str] | None = None,
    templates: str | Sequence[str] | None = None,
    duplicates: Duplicates = "refuse",
    k: Sequence[int] | None = None,
    sampling: Sampling | None = None,
    origin: Origin | None = None,
    progress: bool = False,
) -> Report:
    """Classify items among all labels, or `classes`, and measure how often the label of each is found.

    The figures are the accuracy at each k, which is the share of items whose own label is among the k best,
    and the mean over the classes of their accuracy at 1. Labels with equal scores count as if their order
    were drawn. By default k is 1 and 5, as far as there are so many classes. A sample is drawn of the items,
    while all classes stay candidates. Items that can't be encoded are left out and listed. Scores are held
    for a thousand items at a time.

    Labels may be the places of their classes in `classes`, as data sets have them. Then with
    duplicates="keep" two classes may have one name or one vector, as in published lists of ImageNet's names:
    both stay candidates, and only one of them is right.

    Raises InputError for a label that isn't among the classes, for fewer than two classes, for a k above
    their number, and when no item can be encoded; LabelError for classes that can't be told apart; ValueError
    for a k below 1 and for items and labels of different numbers; TypeError for tables and unordered sets.
    """
    items = list(own_each(as_batch(modality, items)))
    own = to_list(labels, "labels")
    if len(items) != len(own):
        raise ValueError(f"{len(items)} items have {len(own)} labels: give one for each")
    sampling, origin = sampling or Sampling(), origin or Origin()
    names, places = place_labels(own, classes)
    depths, notes = choose_depths(k, len(names), "classes", DEPTHS)
    keys = origin.keys_of(items)
    rows = [
        LabelledItem(keys[each], items[each], names[places[each]], places[each])
        for each in sampling.draw(keys)
    ]
    classifier = space.classifier(names, templates, duplicates=duplicates)
    found = _classify(space, modality, rows, classifier, progress)
    left_out = (*origin.left_out, *found.left_out)
    require_measurable(len(found.rows), left_out, origin.source)
    shares = tuple(found.class_figures())
    return Report(
        task="zero-shot",
        card=card_of(space),
        modalities=(modality, TEXT),
        source=origin.source,
        counts={"items": len(found.rows), "classes": len(names)},
        digest=_digest(names, found.rows),
        sampling=sampling,
        templates=_template_names(templates) or (prompt_of(space.spec(modality)),),
        figures=tuple(_figures(found, depths, sampling)),
        classes=shares,
        confusions=tuple(found.confusions()),
        left_out=left_out,
        notes=(*notes, *_note_on_absent(len(names), len(shares))),
    )


def _classify(
    space: Space, modality: str, rows: Sequence[LabelledItem], classifier: Classifier, progress: bool
) -> _Predictions:
    """Encode and score the items, a part of them at a time, and rank each one's label among the classes."""
    found = _Predictions(list(classifier.labels))
    items = [row.item for row in rows]
    for part in space.stream(modality, items, on_error="skip", progress=progress):
        kept = [rows[place] for place in part.positions.tolist()]
        own = np.array([row.place for row in kept], np.int64)
        found.add(kept, classifier.rank(part).scores, own)
        found.left_out += [LeftOut(rows[error.index or 0].key, error.fact) for error in part.errors]
    return found


def sort_classes(labels: Sequence[str], classes: Sequence[str] | None = None) -> list[str]:
    """Sort the names of the classes, by default the distinct labels.

    InputError for a class given twice, a label of no class, and fewer than two classes.
    """
    names = sorted(set(labels if classes is None else classes))
    known = set(names)
    if classes is not None and len(names) < len(classes):
        twice = next(name for name, count in Counter(classes).items() if count > 1)
        raise InputError(
            f"the class {twice!r} is there twice",
            source="the classes",
            remedy='leave one of them out; if both are meant, pass duplicates="keep" and, as labels, the '
            "places of their classes",
        )
    for place, label in enumerate(labels):
        if label not in known:
            raise InputError(
                f"the label {label!r} is none of the {len(names)} classes",
                source=f"label {place}",
                remedy="add it to the classes, or leave the item out",
                index=place,
            )
    if len(names) < 2:
        raise _too_few_classes(names)
    return names


def _too_few_classes(names: Sequence[str]) -> InputError:
    return InputError(
        f"there is one class, {names[0]!r}" if names else "there are no items",
        source="the labels",
        remedy="give items of two or more classes: among one, every answer is right",
    )


def place_labels(labels: Sequence[Any], classes: Sequence[str] | None = None) -> tuple[list[str], list[int]]:
    """Make the list of classes, and find the place of each label in it.

    A label is a name or, where `classes` is given, may be a place in it. Raises InputError as `sort_classes`
    does, and for a place beyond the classes.
    """
    given = None if classes is None else to_strings(classes, "classes")
    numbers = [int(label) for label in labels if isinstance(label, Integral) and not isinstance(label, bool)]
    if given is None or not numbers or len(numbers) < len(labels):
        names = sort_classes(to_strings(labels, "labels"), given)
        places = {name: place for place, name in enumerate(names)}
        return names, [places[label] for label in labels]
    if len(given) < 2:
        raise _too_few_classes(given)
    for row, place in enumerate(numbers):
        if not 0 <= place < len(given):
            raise InputError(
                f"the label {place} is no place among {len(given)} classes",
                source=f"label {row}",
                remedy=f"count from 0 to {len(given) - 1}, in the order of the classes",
                index=row,
            )
    return given, numbers


def _digest(names: Sequence[str], rows: Sequence[LabelledItem]) -> str:
    """Hash the classes and the measured items with their labels, in any order.

    A class is known by its name, or by its place where two classes have one name.
    """
    distinct = len(set(names)) == len(names)
    labelled = sorted((row.key, row.label if distinct else str(row.place)) for row in rows)
    return json_digest({"classes": sorted(names) if distinct else list(names), "rows": labelled})


def choose_depths(
    k: Sequence[int] | None, count: int, what: str, usual: Sequence[int]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Choose the depths to measure at: those of `k`, or the usual ones up to `count`, with a note on others.

    ValueError for a depth of `k` below 1, InputError for one above `count`.
    """
    asked = [require_positive(depth) for depth in k or ()]
    for depth in asked:
        if depth > count:
            raise InputError(
                f"k is {depth}, and there are {count} {what}",
                source="the depths",
                remedy=f"make it at most {count}, which finds every answer",
            )
    if asked:
        return tuple(sorted(set(asked))), ()
    large = [depth for depth in usual if depth > count]
    note = f"k = {', '.join(map(str, large))} left out: there are {count} {what}"
    return tuple(depth for depth in usual if depth <= count), (note,) if large else ()


def require_measurable(count: int, left_out: Sequence[LeftOut], source: str) -> None:
    """Raise InputError, with the first reason, when no item can be measured."""
    if count:
        return
    first = f"; the first: {left_out[0].source}, {left_out[0].reason}" if left_out else ""
    raise InputError(
        f"none of {len(left_out)} items can be measured{first}",
        source=source or "the items",
        remedy="check the paths: those in a table are relative to the folder that the table is in",
    )


def _template_names(templates: str | Sequence[str] | None) -> tuple[str, ...]:
    """The templates as a report lists them: each one, or the name of a set of them."""
    return (templates,) if isinstance(templates, str) else tuple(templates or ())


def _note_on_absent(candidates: int, present: int) -> tuple[str, ...]:
    missing = candidates - present
    some = "1 class is a candidate" if missing == 1 else f"{missing} classes are candidates"
    return (f"{some} without a measured item",) if missing else ()


@dataclass(slots=True)
class _Predictions:
    """The measured items so far, with the rank of each one's label, its class, and the class predicted.

    own, best   places among the classes: of the item's own label, and of the label with the highest score
    """

    names: list[str]
    rows: list[LabelledItem] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    ranks: list[Ranking] = field(default_factory=list)
    own: list[Positions] = field(default_factory=list)
    best: list[Positions] = field(default_factory=list)

    def add(self, rows: Sequence[LabelledItem], scores: Vectors, own: Positions) -> None:
        """Add items with their scores `[n, classes]` and the place of each one's own class."""
        self.rows += rows
        self.ranks.append(rank_by_scores(scores, list(own[:, None])))
        self.own.append(own)
        self.best.append(scores.argmax(axis=1))

    def values(self, depths: Sequence[int]) -> Numbers:
        """Rows `[n, 2 + depths]`: hits at 1 and at each depth, and the place of the item's class."""
        ranks = Ranking.concatenate(self.ranks)
        hits = [ranks.hits(k) for k in (1, *depths)]
        return np.stack([*hits, np.concatenate(self.own).astype(np.float64)], axis=1)

    def class_figures(self) -> Iterator[ClassFigure]:
        own, hits = np.concatenate(self.own), self.values(())[:, 0]
        for place in np.unique(own).tolist():
            rows = hits[own == place]
            yield ClassFigure(self.names[place], len(rows), float(rows.mean()))

    def confusions(self) -> list[Confusion]:
        pairs = zip(np.concatenate(self.own).tolist(), np.concatenate(self.best).tolist(), strict=True)
        counts = Counter(pair for pair in pairs if pair[0] != pair[1])
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:CONFUSIONS]
        return [Confusion(self.names[own], self.names[best], count) for (own, best), count in ordered]


def _figures(found: _Predictions, depths: Sequence[int], sampling: Sampling) -> Iterator[Figure]:
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
    """The accuracy at each depth, and the mean over the classes of their accuracy at 1."""
    own = values[:, -1].astype(np.int64)
    counts = np.bincount(own)
    sums = np.bincount(own, weights=values[:, 0])
    present = counts > 0
    return np.append(values[:, 1:-1].mean(axis=0), (sums[present] / counts[present]).mean())
