"""`mmencode eval`: how good a space is on one's own data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import MmencodeError
from ..plugins.spec import IMAGE
from . import output
from .options import (
    Device,
    DuplicateLabels,
    Duplicates,
    Json,
    Limit,
    SpaceName,
    Templates,
    TemplateSet,
    Trusted,
    chosen_templates,
    open_space,
    require_folder_of,
)

if TYPE_CHECKING:
    from ..evaluation import Labelled, LeftOut, Report
    from ..zeroshot import Duplicates as KeptOrNot

PAGES = (".md", ".json")

app = typer.Typer(
    help="Measure how good a space is on your own data.", no_args_is_help=True, rich_markup_mode=None
)

FileColumn = Annotated[
    str | None, typer.Option("--file-column", help="The column of files; the first if not given.")
]
Depths = Annotated[
    list[int] | None, typer.Option("-k", min=1, help="How far down answers count. Repeatable.")
]
Sample = Annotated[int | None, typer.Option(min=1, help="Measure so many items, drawn by the seed.")]
Seed = Annotated[int, typer.Option(help="Of the sample and of the intervals.")]
Resamples = Annotated[int, typer.Option(min=100, help="Bootstrap resamples for the intervals.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Also write the whole report: .md or .json.", metavar="FILE"),
]
Modality = Annotated[str, typer.Option(help="What the items are.")]


@app.command("zero-shot")
def zero_shot(
    data: Annotated[
        Path, typer.Argument(help="A folder with a folder for each class, or a table of files and labels.")
    ],
    modality: Modality = IMAGE,
    column: Annotated[
        str | None, typer.Option(help="The column of labels; the first of the others if not given.")
    ] = None,
    file_column: FileColumn = None,
    names: Annotated[
        Path | None, typer.Option(help="A table of classes and the names to use instead.", dir_okay=False)
    ] = None,
    template: Templates = None,
    template_set: TemplateSet = None,
    duplicates: Duplicates = DuplicateLabels.refuse,
    k: Depths = None,
    sample: Sample = None,
    seed: Seed = 0,
    resamples: Resamples = 1000,
    out: Out = None,
    space: SpaceName = None,
    device: Device = "auto",
    limit: Limit = None,
    trust: Trusted = False,
    json: Json = False,
) -> None:
    """Classify labelled items without training, and compare with their labels.

    Tables are .csv, .jsonl or .parquet; their files are relative to them. Rows without a label are left out.

    \b
    Example: mmencode eval zero-shot photos/ -o report.md
    Example: mmencode eval zero-shot photos.csv --column kind --template "a photo of a {label}"
    """
    from .. import evaluation

    _check_out(out)
    templates = chosen_templates(template, template_set)
    with _usage():
        read = _labelled(data, modality, file_column, column, names, duplicates.value)
    found = evaluation.zero_shot(
        open_space(space, device, limit, trust),
        modality,
        read.items,
        read.labels,
        classes=read.classes,
        templates=templates,
        duplicates=duplicates.value,
        k=k,
        sampling=evaluation.Sampling(sample, seed, resamples),
        origin=read.origin,
        progress=True,
    )
    _give(found, out, json)


@app.command("retrieval")
def retrieval(
    table: Annotated[Path, typer.Argument(help="A table of files and captions.")],
    modality: Modality = IMAGE,
    column: Annotated[
        list[str] | None,
        typer.Option(help="A column of captions; the first of the others if not given. Repeatable."),
    ] = None,
    file_column: FileColumn = None,
    template: Annotated[
        str, typer.Option(help='How a caption reads, when it is but a label: "a photo of a {label}".')
    ] = "{label}",
    k: Depths = None,
    sample: Sample = None,
    seed: Seed = 0,
    resamples: Resamples = 1000,
    out: Out = None,
    space: SpaceName = None,
    device: Device = "auto",
    limit: Limit = None,
    trust: Trusted = False,
    json: Json = False,
) -> None:
    """Search files by captions and captions by files, and look where the right ones stand.

    A file may have several rows, as may a caption. Tables are .csv, .jsonl or .parquet; their files are
    relative to them. Rows without a caption are left out.

    \b
    Example: mmencode eval retrieval captions.csv
    Example: mmencode eval retrieval clotho.csv --modality audio --column caption_1 --column caption_2
    """
    from .. import evaluation

    _check_out(out)
    with _usage():
        read = evaluation.paired_table(
            table, modality, items=file_column, captions=column or (), template=template
        )
    found = evaluation.retrieval(
        open_space(space, device, limit, trust),
        read.pairs,
        modality=modality,
        k=k,
        sampling=evaluation.Sampling(sample, seed, resamples),
        origin=read.origin,
        progress=True,
    )
    _give(found, out, json)


def _labelled(
    data: Path,
    modality: str,
    files: str | None,
    labels: str | None,
    names: Path | None,
    duplicates: KeptOrNot,
) -> Labelled:
    """The items of a folder, or of a table by its columns."""
    from ..evaluation import labelled_folder, labelled_table

    if not data.is_dir():
        return labelled_table(data, modality, items=files, labels=labels, names=names, duplicates=duplicates)
    if files or labels:
        raise ValueError(f"{data} is a folder, and has no columns: leave out --column and --file-column")
    return labelled_folder(data, modality, names=names, duplicates=duplicates)


@contextmanager
def _usage() -> Iterator[None]:
    """Make of a wrong argument a wrong command line: a table's ending, say, or a template without a slot."""
    try:
        yield
    except MmencodeError:
        raise
    except ValueError as cause:
        raise typer.BadParameter(str(cause)) from cause


def _check_out(out: Path | None) -> None:
    """Find out before the work rather than after it that it couldn't be saved."""
    if out is not None and out.suffix.lower() not in PAGES:
        raise typer.BadParameter(f"{out} ends in none of {', '.join(PAGES)}", param_hint="--out")
    require_folder_of(out, "--out")


def _give(found: Report, out: Path | None, json: bool) -> None:
    """Write the report where it was asked for, print it, and list what was left out."""
    from .._atomic import file_aside

    document = dumps(found.to_dict(), indent=2)
    if out is not None:
        with file_aside(out) as aside:
            page = found.to_markdown() if out.suffix.lower() == ".md" else f"{document}\n"
            aside.write_text(page, encoding="utf-8")
    output.say(document) if json else output.text(found)
    _report(found.left_out)


def _report(left_out: Sequence[LeftOut]) -> None:
    if left_out:
        rows = [(row.source, row.reason) for row in left_out]
        output.table(output.Table(f"{len(rows)} left out", ("left out", "reason"), rows), err=True)
