"""`mmencode classify`: items among labels that are given as words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, LabelError, UnknownNameError
from . import output
from .failures import as_documents, report, require_some
from .items import gather
from .lists import read_lines
from .options import (
    Device,
    DuplicateLabels,
    Duplicates,
    FollowLinks,
    Json,
    Limit,
    ListFile,
    SpaceName,
    Templates,
    TemplateSet,
    Trusted,
    chosen_templates,
    open_space,
)

if TYPE_CHECKING:
    from ..spaces.space import Space
    from ..zeroshot import Classification, Classifier
    from ..zeroshot import Duplicates as KeptOrNot


def classify(
    items: Annotated[
        list[str] | None,
        typer.Argument(help="Files and folders. - reads one item from each line of standard input."),
    ] = None,
    labels: Annotated[str, typer.Option(help="Labels, separated by commas.")] = "",
    labels_file: Annotated[
        Path | None,
        typer.Option(help="A file with one more label on each line.", exists=True, dir_okay=False),
    ] = None,
    template: Templates = None,
    template_set: TemplateSet = None,
    synonyms_file: Annotated[
        Path | None,
        typer.Option(
            help='A file with other names of labels, on each line "car: automobile, motor car".',
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    null: Annotated[
        list[str] | None,
        typer.Option(help='A text about nothing in particular, "a photo": what fits it better has no label.'),
    ] = None,
    duplicates: Duplicates = DuplicateLabels.refuse,
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="Judge each label by itself; an item may have many.")
    ] = False,
    threshold: Annotated[
        float | None, typer.Option(help="The score from which on a label counts; others aren't shown.")
    ] = None,
    modality: Annotated[str, typer.Option(help="What the items are.")] = "image",
    k: Annotated[
        int | None,
        typer.Option(
            "-k", min=1, help="How many labels to show for each item; 3, or all with --multi-label."
        ),
    ] = None,
    file: ListFile = None,
    follow_links: FollowLinks = False,
    space: SpaceName = None,
    device: Device = "auto",
    limit: Limit = None,
    trust: Trusted = False,
    json: Json = False,
) -> None:
    """Rank labels for items, without training.

    Scores are cosine similarities: compare them within a row; they are no probabilities. Where the space has
    a scale for those, they are shown, too.

    \b
    Example: mmencode classify photos/ --labels cat,dog,car
    """
    if threshold is not None and not isfinite(threshold):
        raise typer.BadParameter(f"{threshold} is no score", param_hint="--threshold")
    words = _labels(labels, labels_file)
    described = _Description(
        templates=chosen_templates(template, template_set),
        synonyms=None if synonyms_file is None else _synonyms(synonyms_file),
        null=null or [],
        multi_label=multi_label,
        duplicates=duplicates.value,
    )
    found = gather(modality, items or [], file, follow_links=follow_links)
    opened = open_space(space, device, limit, trust)
    if multi_label and threshold is None and not null:
        _require_sigmoid(opened, modality)
    classifier = _classifier(opened, words, described)
    result = classifier.classify(modality, found.batch, on_error="skip", progress=True)
    failed = [*found.errors, *result.errors]
    require_some(len(result), failed)
    names = [found.batch[position] for position in result.positions]
    ranked = list(zip(names, _shown(result, threshold, k), strict=True))
    if json:
        results = [{"item": name, "labels": [entry.to_dict() for entry in row]} for name, row in ranked]
        output.document(
            {
                "space": opened.id,
                "results": results,
                "failed": as_documents(failed),
                "left_out": dict(found.left_out),
            }
        )
    else:
        output.table(_table(ranked, result.has_probabilities))
    if result.is_alone:
        output.note("One label has no probability: name more, or what else there may be with --null.")
    report(failed)


@dataclass(frozen=True, slots=True)
class _Description:
    """What the command line says about its labels, as `Space.classifier` takes it."""

    templates: str | list[str] | None
    synonyms: dict[str, list[str]] | None
    null: list[str]
    multi_label: bool
    duplicates: KeptOrNot


@dataclass(frozen=True, slots=True)
class _Shown:
    """One label of an item."""

    label: str
    score: float
    probability: float | None

    def to_dict(self) -> dict[str, Any]:
        """For a JSON document; without a probability where there is none."""
        content = {"label": self.label, "score": self.score, "probability": self.probability}
        return {name: value for name, value in content.items() if value is not None}

    def cells(self) -> tuple[str, ...]:
        """For a table."""
        probability = () if self.probability is None else (output.score(self.probability),)
        return (self.label, output.score(self.score), *probability)


def _shown(result: Classification, threshold: float | None, k: int | None) -> list[list[_Shown]]:
    """The labels of each row to show: those that count where something says so, else the best."""
    if threshold is not None:
        result = result.with_threshold(threshold)
    judged = result.threshold is not None or result.null is not None
    rows = result.above() if judged else result.top(len(result.labels))
    count = k or (len(result.labels) if result.multi_label else 3)
    places = {label: place for place, label in enumerate(result.labels)}
    chances = result.probabilities().tolist() if result.has_probabilities else None
    return [
        [
            _Shown(label, score, None if chances is None else chances[number][places[label]])
            for label, score in row[:count]
        ]
        for number, row in enumerate(rows)
    ]


def _table(ranked: Sequence[tuple[str, Sequence[_Shown]]], chances: bool) -> output.Table:
    """A row for each item, with as many columns as the item with the most labels needs."""
    places = range(1, 1 + max(1, max(len(row) for _, row in ranked)))
    kinds = ("score", "probability") if chances else ("score",)
    numbers = [f"{kind} {place}" for place in places for kind in kinds]
    columns = ["item"]
    for place in places:
        columns += [f"{place}.", *(f"{kind} {place}" for kind in kinds)]
    rows = []
    for name, row in ranked:
        cells = [name, *(cell for entry in row for cell in entry.cells())]
        rows.append([*cells, *[""] * (len(columns) - len(cells))])
    return output.Table("Labels", columns, rows, numbers=numbers)


def _labels(listed: str, path: Path | None) -> list[str]:
    listed_there = [] if path is None else _read(path)
    words = [word.strip() for word in [*listed.split(","), *listed_there] if word.strip()]
    if not words:
        raise typer.BadParameter(
            "name some labels: --labels cat,dog,car, or --labels-file", param_hint="--labels"
        )
    return words


def _read(path: Path) -> list[str]:
    """The lines of an option's file; wrong usage for one that can't be read."""
    try:
        return read_lines(path)
    except InputError as cause:
        raise typer.BadParameter(f"{path}: {cause.fact}; {cause.remedy}") from cause


def _require_sigmoid(space: Space, modality: str) -> None:
    """Refuse labels judged by themselves where nothing says from what score on they count."""
    scoring = space.scoring(modality)
    if scoring is None or scoring.kind != "sigmoid":
        raise typer.BadParameter(
            "this space doesn't say what score a label needs: pass --threshold or --null",
            param_hint="--multi-label",
        )


def _synonyms(path: Path) -> dict[str, list[str]]:
    """The other names of labels in a file, a label's on each line."""
    found: dict[str, list[str]] = {}
    for line in _read(path):
        label, colon, others = line.partition(":")
        words = [word.strip() for word in others.split(",") if word.strip()]
        if not colon or not label.strip() or not words or label.strip() in found:
            raise typer.BadParameter(
                f'a line is {line!r:.200}: write each label once, as "car: automobile, motor car"',
                param_hint="--synonyms-file",
            )
        found[label.strip()] = words
    return found


def _classifier(space: Space, labels: Sequence[str], given: _Description) -> Classifier:
    try:
        return space.classifier(
            labels,
            given.templates,
            synonyms=given.synonyms,
            null=given.null,
            multi_label=given.multi_label,
            duplicates=given.duplicates,
        )
    except (LabelError, UnknownNameError) as cause:  # a label twice, or a template without {label}
        raise typer.BadParameter(f"{cause.fact}; {cause.remedy}") from cause
