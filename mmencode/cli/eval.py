"""Implement `mmencode eval`, which measures how well a space does on the user's own data."""

from __future__ import annotations

from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..plugins.spec import IMAGE
from . import output
from .failures import blame_usage
from .options import (
    Backend,
    Backends,
    Device,
    DuplicateLabels,
    Duplicates,
    Instruction,
    Json,
    Limit,
    LoadChoice,
    Modalities,
    SpaceName,
    Templates,
    TemplateSet,
    Trusted,
    choose_templates,
    open_space,
    parse_limits,
    require_folder_of,
)

if TYPE_CHECKING:
    from ..evaluation import Labelled, LeftOut, Report
    from ..inputs import Limits
    from ..zeroshot import Duplicates as KeptOrNot

PAGES = (".md", ".json")

app: typer.Typer = typer.Typer(
    help="Measure how well a space does on your own data.", no_args_is_help=True, rich_markup_mode=None
)

FileColumn = Annotated[
    str | None,
    typer.Option(
        "--file-column",
        help="The table's column of file paths. If omitted, the first column.",
        metavar="NAME",
    ),
]
Accuracies = Annotated[
    list[int] | None,
    typer.Option(
        "-k",
        min=1,
        help="Report how often the right label is among the k best (top-k accuracy). Repeatable.",
        metavar="K",
    ),
]
Recalls = Annotated[
    list[int] | None,
    typer.Option(
        "-k",
        min=1,
        help="Report how often a right answer is among the first k (recall@k). Repeatable.",
        metavar="K",
    ),
]
Sample = Annotated[
    int | None,
    typer.Option(min=1, help="Measure only this many items, drawn at random with --seed.", metavar="NUMBER"),
]
Seed = Annotated[
    int,
    typer.Option(
        help="The random seed of the --sample and of the confidence intervals' resamples.", metavar="NUMBER"
    ),
]
Resamples = Annotated[
    int,
    typer.Option(
        min=100, help="The number of bootstrap resamples for the confidence intervals.", metavar="NUMBER"
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Write the full report to this .md or .json file, too.",
        metavar="FILE",
    ),
]
Modality = Annotated[
    str,
    typer.Option(
        help="The kind of the items: image, audio or another that the space has.", metavar="MODALITY"
    ),
]


@app.command("zero-shot")
def zero_shot(
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder with a subfolder for each class, or a table of files and labels.", metavar="PATH"
        ),
    ],
    modality: Modality = IMAGE,
    column: Annotated[
        str | None,
        typer.Option(
            help="The table's column of labels. If omitted, the first one that isn't the files'.",
            metavar="NAME",
        ),
    ] = None,
    file_column: FileColumn = None,
    names: Annotated[
        Path | None,
        typer.Option(
            help="A table that maps classes, such as n02123045, to names for the prompts, such as tabby cat.",
            dir_okay=False,
            metavar="FILE",
        ),
    ] = None,
    template: Templates = None,
    template_set: TemplateSet = None,
    duplicates: Duplicates = DuplicateLabels.refuse,
    k: Accuracies = None,
    sample: Sample = None,
    seed: Seed = 0,
    resamples: Resamples = 1000,
    out: Out = None,
    space: SpaceName = None,
    device: Device = "auto",
    backend: Backend = Backends.torch,
    limit: Limit = None,
    trust: Trusted = False,
    instruction: Instruction = "",
    modalities: Modalities = None,
    json: Json = False,
) -> None:
    """Measure the accuracy of zero-shot classification.

    Labelled items are classified, and the report says how often they get their own label, with confidence
    intervals and the accuracy of chance. Tables are .csv, .jsonl or .parquet files. Paths in them are
    relative to the table's folder; rows without a label are left out.

    \b
    Example: mmencode eval zero-shot photos/ -o report.md
    Example: mmencode eval zero-shot photos.csv --column kind --template "a photo of a {label}"
    """
    from .. import evaluation

    _check_out(out)
    templates = choose_templates(template, template_set)
    with blame_usage():
        read = _read_labelled(
            data, modality, file_column, column, names, duplicates.value, parse_limits(limit)
        )
    choice = LoadChoice(
        device=device,
        backend=backend,
        limit=limit,
        trust=trust,
        instruction=instruction,
        modalities=modalities,
    )
    found = evaluation.zero_shot(
        open_space(space, choice),
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
    table: Annotated[Path, typer.Argument(help="A table of files and their captions.", metavar="TABLE")],
    modality: Modality = IMAGE,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="A column of captions. If omitted, the first one that isn't the files'. Repeatable.",
            metavar="NAME",
        ),
    ] = None,
    file_column: FileColumn = None,
    template: Annotated[
        str,
        typer.Option(
            help='A prompt that wraps captions which are only labels: "a photo of a {label}".',
            metavar="PROMPT",
        ),
    ] = "{label}",
    k: Recalls = None,
    sample: Sample = None,
    seed: Seed = 0,
    resamples: Resamples = 1000,
    out: Out = None,
    space: SpaceName = None,
    device: Device = "auto",
    backend: Backend = Backends.torch,
    limit: Limit = None,
    trust: Trusted = False,
    instruction: Instruction = "",
    modalities: Modalities = None,
    json: Json = False,
) -> None:
    """Measure the recall of searches by caption and by file.

    The captions search the files and the files the captions, and the report says how often the right answers
    come first, with confidence intervals. A file may stand in several rows, and so may a caption. Tables are
    .csv, .jsonl or .parquet files. Paths in them are relative to the table's folder; rows without a caption
    are left out.

    \b
    Example: mmencode eval retrieval captions.csv
    Example: mmencode eval retrieval clotho.csv --modality audio --column caption_1 --column caption_2
    """
    from .. import evaluation

    _check_out(out)
    with blame_usage():
        read = evaluation.read_paired_table(
            table, modality, items=file_column, captions=column or (), template=template
        )
    choice = LoadChoice(
        device=device,
        backend=backend,
        limit=limit,
        trust=trust,
        instruction=instruction,
        modalities=modalities,
    )
    found = evaluation.retrieval(
        open_space(space, choice),
        read.pairs,
        modality=modality,
        k=k,
        sampling=evaluation.Sampling(sample, seed, resamples),
        origin=read.origin,
        progress=True,
    )
    _give(found, out, json)


def _read_labelled(
    data: Path,
    modality: str,
    files: str | None,
    labels: str | None,
    names: Path | None,
    duplicates: KeptOrNot,
    limits: Limits,
) -> Labelled:
    """Read labelled items from a folder of classes, or from the columns of a table."""
    from ..evaluation import read_labelled_folder, read_labelled_table

    if not data.is_dir():
        return read_labelled_table(
            data, modality, items=files, labels=labels, names=names, duplicates=duplicates
        )
    if files or labels:
        raise ValueError(f"{data} is a folder, and has no columns: leave out --column and --file-column")
    return read_labelled_folder(data, modality, names=names, duplicates=duplicates, limits=limits)


def _check_out(out: Path | None) -> None:
    """Refuse a report that couldn't be written, before anything is measured."""
    if out is not None and out.suffix.lower() not in PAGES:
        raise typer.BadParameter(f"{out} ends in none of {', '.join(PAGES)}", param_hint="--out")
    require_folder_of(out, "--out")


def _give(found: Report, out: Path | None, json: bool) -> None:
    """Print the report, write it to `out` if given, and list the rows that were left out."""
    from .._atomic import file_aside

    document = dumps(found.to_dict(), indent=2)
    if out is not None:
        with file_aside(out) as aside:
            page = found.to_markdown() if out.suffix.lower() == ".md" else f"{document}\n"
            aside.write_text(page, encoding="utf-8")
    output.say(document) if json else output.text(found)
    _list_left_out(found.left_out)


def _list_left_out(left_out: Sequence[LeftOut]) -> None:
    if left_out:
        rows = [(row.source, row.reason) for row in left_out]
        output.table(output.Table(f"{len(rows)} left out", ("left out", "reason"), rows), err=True)
