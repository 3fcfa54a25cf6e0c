"""`mmencode classify`: items among labels that are given as words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import output
from .failures import as_documents, report, require_some
from .items import gather
from .options import Device, Json, ListFile, SpaceName, open_space

if TYPE_CHECKING:
    from ..space import Space
    from ..zeroshot import Classifier


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
    template: Annotated[
        list[str] | None,
        typer.Option(help='How a label reads: "a photo of a {label}". Several are averaged.'),
    ] = None,
    modality: Annotated[str, typer.Option(help="What the items are.")] = "image",
    k: Annotated[int, typer.Option("-k", min=1, help="How many labels to show for each item.")] = 3,
    file: ListFile = None,
    space: SpaceName = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Rank labels for items, without training.

    Scores are cosine similarities: compare them within a row; they are no probabilities.

    \b
    Example: mmencode classify photos/ --labels cat,dog,car
    """
    words = _labels(labels, labels_file)
    found = gather(modality, items or [], file)
    opened = open_space(space, device)
    result = _classifier(opened, words, template).classify(
        modality, found.batch, on_error="skip", progress=True
    )
    failed = [*found.errors, *result.errors]
    require_some(len(result), failed)
    names = [found.batch[position] for position in result.positions]
    ranked = list(zip(names, result.top(k), strict=True))
    if json:
        results = [{"item": name, "labels": labelled(top)} for name, top in ranked]
        output.document({"space": opened.id, "results": results, "failed": as_documents(failed)})
    else:
        output.table(ranking("Labels", "item", ranked))
    report(failed)


def labelled(top: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
    """Labels with their scores, for a JSON document."""
    return [{"label": label, "score": score} for label, score in top]


def ranking(
    title: str, first: str, ranked: Sequence[tuple[str, Sequence[tuple[str, float]]]]
) -> output.Table:
    """A row for each name, with its best, second and further words and their scores."""
    places = range(1, 1 + max(len(top) for _, top in ranked))
    columns = [first, *(column for place in places for column in (f"{place}.", f"score {place}"))]
    rows = [
        (name, *(cell for word, score in top for cell in (word, output.score(score)))) for name, top in ranked
    ]
    return output.Table(title, columns, rows, numbers=[f"score {place}" for place in places])


def _labels(listed: str, path: Path | None) -> list[str]:
    lines = [] if path is None else path.read_text(encoding="utf-8-sig").splitlines()
    words = [word.strip() for word in [*listed.split(","), *lines] if word.strip()]
    if not words:
        raise typer.BadParameter(
            "name some labels: --labels cat,dog,car, or --labels-file", param_hint="--labels"
        )
    return words


def _classifier(space: Space, labels: Sequence[str], templates: Sequence[str] | None) -> Classifier:
    try:
        return space.classifier(labels, templates or None)
    except ValueError as cause:  # a label twice, or a template without {label}
        raise typer.BadParameter(str(cause)) from cause
