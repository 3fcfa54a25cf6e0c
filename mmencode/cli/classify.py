"""Implement `mmencode classify`, which ranks labels for items zero-shot."""

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
    Backend,
    Backends,
    Device,
    DuplicateLabels,
    Duplicates,
    FollowLinks,
    Instruction,
    Json,
    Limit,
    ListFile,
    LoadChoice,
    Modalities,
    PartWeights,
    SpaceName,
    Table,
    Templates,
    TemplateSet,
    Trusted,
    choose_templates,
    fuse_as_asked,
    open_space,
)

if TYPE_CHECKING:
    from ..spaces.space import Space
    from ..zeroshot import Classification, Classifier
    from ..zeroshot import Duplicates as KeptOrNot


def classify(
    items: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files and folders, or texts; - reads one item from each line of standard input. Of items "
            "with parts, a table of them.",
            metavar="ITEM...",
        ),
    ] = None,
    labels: Annotated[
        str,
        typer.Option(help="The labels to choose among, separated by commas: cat,dog,car.", metavar="LABELS"),
    ] = "",
    labels_file: Annotated[
        Path | None,
        typer.Option(
            help="Read more labels from this file, one on each line.",
            exists=True,
            dir_okay=False,
            metavar="FILE",
        ),
    ] = None,
    template: Templates = None,
    template_set: TemplateSet = None,
    synonyms_file: Annotated[
        Path | None,
        typer.Option(
            help="A file of synonyms of labels, whose vectors are averaged with the label's; its lines read "
            '"car: automobile, motor car".',
            exists=True,
            dir_okay=False,
            metavar="FILE",
        ),
    ] = None,
    null: Annotated[
        list[str] | None,
        typer.Option(
            help='A text that fits any item, such as "a photo": labels that score lower than it are dropped. '
            "Repeatable.",
            metavar="TEXT",
        ),
    ] = None,
    duplicates: Duplicates = DuplicateLabels.refuse,
    multi_label: Annotated[
        bool,
        typer.Option(
            "--multi-label", help="Accept or reject each label by itself, so that an item may have several."
        ),
    ] = False,
    threshold: Annotated[
        float | None, typer.Option(help="Drop labels that score lower than this.", metavar="SCORE")
    ] = None,
    modality: Annotated[
        str,
        typer.Option(
            help="The kind of the items: image, audio, text, another that the space has, or several joined "
            "by +, whose items have a part of each.",
            metavar="MODALITY",
        ),
    ] = "image",
    k: Annotated[
        int | None,
        typer.Option(
            "-k",
            min=1,
            help="The number of labels to show for each item. If omitted, 3, or all with --multi-label.",
            metavar="NUMBER",
        ),
    ] = None,
    file: ListFile = None,
    table: Table = None,
    weight: PartWeights = None,
    follow_links: FollowLinks = False,
    space: SpaceName = None,
    device: Device = "auto",
    backend: Backend = Backends.torch,
    limit: Limit = None,
    trust: Trusted = False,
    instruction: Instruction = "",
    modalities: Modalities = None,
    json: Json = False,
) -> None:
    """Rank labels for items zero-shot, without training.

    Scores are cosine similarities, to be compared within a row; they are no probabilities. Probabilities are
    shown beside them if the space declares how scores become probabilities.

    \b
    Example: mmencode classify photos/ --labels cat,dog,car
    Example: mmencode classify --modality image+text --list posts.jsonl --labels cat,dog,car
    """
    if threshold is not None and not isfinite(threshold):
        raise typer.BadParameter(f"{threshold} is not a finite number", param_hint="--threshold")
    words = _read_labels(labels, labels_file)
    options = _LabelOptions(
        templates=choose_templates(template, template_set),
        synonyms=None if synonyms_file is None else _read_synonyms(synonyms_file),
        null=null or [],
        multi_label=multi_label,
        duplicates=duplicates.value,
    )
    found = gather(modality, items or [], file, table, follow_links=follow_links, limit=limit)
    choice = LoadChoice(
        device=device,
        backend=backend,
        limit=limit,
        trust=trust,
        instruction=instruction,
        modalities=modalities,
    )
    opened = fuse_as_asked(open_space(space, choice), modality, weight)
    if multi_label and threshold is None and not null:
        _require_sigmoid(opened, modality)
    classifier = _build_classifier(opened, words, options)
    opened.preload(modality, "text:query" if "text:query" in opened.keys else "text")
    result = classifier.classify(modality, found.batch, on_error="skip", progress=True)
    failed = found.blame(result.errors)
    require_some(len(result), failed)
    keys = found.keys
    names = [keys[position] for position in result.positions]
    ranked = list(zip(names, _select_labels(result, threshold, k), strict=True))
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
        output.note("A single label has no probability: pass more labels, or an alternative with --null.")
    report(failed)


@dataclass(frozen=True, slots=True)
class _LabelOptions:
    """The options about labels, in the form in which `Space.classifier` takes them."""

    templates: str | list[str] | None
    synonyms: dict[str, list[str]] | None
    null: list[str]
    multi_label: bool
    duplicates: KeptOrNot


@dataclass(frozen=True, slots=True)
class _RankedLabel:
    """One label of an item with its score, and its probability where the space gives one."""

    label: str
    score: float
    probability: float | None

    def to_dict(self) -> dict[str, Any]:
        """The label as a JSON document holds it, without a missing probability."""
        content = {"label": self.label, "score": self.score, "probability": self.probability}
        return {name: value for name, value in content.items() if value is not None}

    def cells(self) -> tuple[str, ...]:
        """The texts that fill the label's columns of the table."""
        probability = () if self.probability is None else (output.score(self.probability),)
        return (self.label, output.score(self.score), *probability)


def _select_labels(
    result: Classification, threshold: float | None, k: int | None
) -> list[list[_RankedLabel]]:
    """Select the labels to show for each item, best first.

    They are the accepted ones where a threshold or a null text decides, else the `k` best.
    """
    if threshold is not None:
        result = result.with_threshold(threshold)
    judged = result.threshold is not None or result.null is not None
    rows = result.above() if judged else result.top(len(result.labels))
    count = k or (len(result.labels) if result.multi_label else 3)
    places = {label: place for place, label in enumerate(result.labels)}
    chances = result.probabilities().tolist() if result.has_probabilities else None
    return [
        [
            _RankedLabel(label, score, None if chances is None else chances[number][places[label]])
            for label, score in row[:count]
        ]
        for number, row in enumerate(rows)
    ]


def _table(ranked: Sequence[tuple[str, Sequence[_RankedLabel]]], chances: bool) -> output.Table:
    """A table with a row for each item, as wide as the item with the most labels needs."""
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


def _read_labels(listed: str, path: Path | None) -> list[str]:
    """Read the labels of --labels and of --labels-file; wrong usage if there are none."""
    lines = [] if path is None else _read_lines(path)
    words = [word.strip() for word in [*listed.split(","), *lines] if word.strip()]
    if not words:
        raise typer.BadParameter(
            "pass some labels: --labels cat,dog,car, or --labels-file", param_hint="--labels"
        )
    return words


def _read_lines(path: Path) -> list[str]:
    """Read the lines of an option's file; wrong usage for one that can't be read."""
    try:
        return read_lines(path)
    except InputError as cause:
        raise typer.BadParameter(f"{path}: {cause.fact}; {cause.remedy}") from cause


def _require_sigmoid(space: Space, modality: str) -> None:
    """Refuse --multi-label for a space that doesn't declare which score accepts a label."""
    scoring = space.scoring(modality)
    if scoring is None or scoring.kind != "sigmoid":
        raise typer.BadParameter(
            "this space declares no score from which on a label is accepted: pass --threshold or --null",
            param_hint="--multi-label",
        )


def _read_synonyms(path: Path) -> dict[str, list[str]]:
    """Read the synonyms of labels from a file with one label on each line."""
    found: dict[str, list[str]] = {}
    for line in _read_lines(path):
        label, colon, others = line.partition(":")
        words = [word.strip() for word in others.split(",") if word.strip()]
        if not colon or not label.strip() or not words or label.strip() in found:
            raise typer.BadParameter(
                f"the line {line!r:.200} can't be used: write each label once, as "
                '"car: automobile, motor car"',
                param_hint="--synonyms-file",
            )
        found[label.strip()] = words
    return found


def _build_classifier(space: Space, labels: Sequence[str], given: _LabelOptions) -> Classifier:
    """Encode the labels into a classifier; wrong usage for labels or templates that it refuses."""
    try:
        return space.classifier(
            labels,
            given.templates,
            synonyms=given.synonyms,
            null=given.null,
            multi_label=given.multi_label,
            duplicates=given.duplicates,
        )
    except (LabelError, UnknownNameError) as cause:  # a repeated label, a template without {label}
        raise typer.BadParameter(f"{cause.fact}; {cause.remedy}") from cause
