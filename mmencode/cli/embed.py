"""Implement `mmencode embed`, which encodes sources of any size into a folder of parts."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import MmencodeError
from . import output
from .encode import parse_role
from .failures import blame_usage
from .options import (
    Backend,
    Backends,
    Device,
    Instruction,
    Json,
    Limit,
    LoadChoice,
    SpaceName,
    Trusted,
    open_space,
)

if TYPE_CHECKING:
    from ..scale import EmbedReport, UnitReport


class Formats(StrEnum):
    """The files that vectors are written to."""

    parquet = "parquet"
    lance = "lance"


_SHOWN = 8  # failed units, and keys that occur twice, that are printed


def embed(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder, a pattern, a table (.jsonl, .csv, .parquet, .lance) or an archive (.tar), on "
            "this machine or behind an address such as s3://bucket/photos.",
            metavar="SOURCE",
        ),
    ],
    out: Annotated[
        str,
        typer.Option("--output", "-o", help="The folder or address to write the parts to.", metavar="PLACE"),
    ],
    modality: Annotated[
        str, typer.Option("--modality", "-m", help="The kind of the items.", metavar="MODALITY")
    ],
    role: Annotated[
        str,
        typer.Option(
            help="Encode the items as query or as document, where a modality has an encoder for each.",
            metavar="query|document",
        ),
    ] = "",
    column: Annotated[
        str,
        typer.Option(
            help="The column of a table, or the ending in an archive, that has the items. If omitted, the "
            "modality's name, or its endings.",
            metavar="NAME",
        ),
    ] = "",
    key: Annotated[
        str,
        typer.Option(
            help="The column of a table that has the keys. If omitted, key, or else each row's place.",
            metavar="NAME",
        ),
    ] = "",
    dim: Annotated[
        int | None,
        typer.Option(help="Cut vectors to a width that the model declares.", min=1, metavar="WIDTH"),
    ] = None,
    to: Annotated[
        Formats,
        typer.Option(
            help="Add the rows of all parts to one Lance dataset as well, vectors.lance in the output, in "
            "one commit at the end.",
            metavar="|".join(Formats),
        ),
    ] = Formats.parquet,
    unit_files: Annotated[
        int, typer.Option(help="Put so many files into a part, on average.", min=1, metavar="COUNT")
    ] = 1024,
    unit_bytes: Annotated[
        int, typer.Option(help="Put so many bytes of a .jsonl table into a part.", min=1, metavar="COUNT")
    ] = 2**22,
    retry: Annotated[
        bool,
        typer.Option(
            "--retry", help="Encode parts again in which items failed for a reason that may have passed."
        ),
    ] = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Remove parts of files that were changed or are gone from the source."),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Look for keys that several parts have; exit code 1 if any do.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Encode on the devices of a Ray cluster: its address, auto for the one of this machine, or "
            "local to start one for the run. All its machines must see source and output.",
            metavar="ADDRESS",
        ),
    ] = None,
    actors: Annotated[
        int | None,
        typer.Option(
            help="Have so many processes in the cluster. If omitted, one for each GPU or, in a cluster "
            "without, for each machine.",
            min=1,
            metavar="COUNT",
        ),
    ] = None,
    space: SpaceName = None,
    device: Device = "auto",
    backend: Backend = Backends.torch,
    limit: Limit = None,
    trust: Trusted = False,
    instruction: Instruction = "",
    json: Json = False,
) -> None:
    """Encode a source of any size, part by part, into a folder.

    A run that was ended goes on where it was: a part that is there isn't encoded again, unless what it was
    made of has changed. Each file in vectors/ has the keys and vectors of a part, which Embeddings.load,
    pandas and DuckDB read; failures/ has the items without a vector, and why.

    \b
    Example: mmencode embed photos/ --modality image -o embedded/
    Example: mmencode embed captions.jsonl -m text --column caption -o s3://bucket/embedded
    Example: mmencode embed s3://bucket/photos -m image -o s3://bucket/embedded --ray auto
    """
    from ..engine.progress import bar
    from ..scale import Sizes, find_duplicates
    from ..scale import embed as run

    if actors is not None and ray is None:
        raise typer.BadParameter("name the cluster, too: --ray", param_hint="--actors")
    asked = parse_role(role)
    choice = LoadChoice(
        device=device,
        backend=backend,
        limit=limit,
        trust=trust,
        instruction=instruction,
        modalities=[modality],
    )
    opened = open_space(space, choice)
    with bar(f"embed {modality}", None) as advance, blame_usage():

        def follow(unit: UnitReport) -> None:
            advance(unit.vectors + unit.failures, unit.failures)

        report = run(
            source,
            out,
            modality,
            space=opened,
            role=asked,
            column=column,
            key=key,
            dim=dim,
            to=to.value,
            sizes=Sizes(unit_files, unit_bytes),
            retry=retry,
            prune=prune,
            advance=follow,
            ray=ray,
            actors=actors,
        )
    twice = find_duplicates(out) if check else {}
    if json:
        output.document({**asdict(report), "output": out, "duplicates": twice})
    else:
        _print(report, out)
    for failed in report.failed[:_SHOWN]:
        output.note(f"not encoded: {failed.unit}: {failed.error}")
    if twice:
        shown = ", ".join(list(twice)[:_SHOWN])
        raise MmencodeError(
            f"{len(twice)} keys are in several parts: {shown:.500}",
            remedy="give the rows keys of their own, or encode one of the tables elsewhere",
        )
    if report.failed:
        raise MmencodeError(
            f"{len(report.failed)} of {report.units} parts couldn't be read",
            remedy="look at the messages above, and run this again, which encodes only these",
        )


def _print(report: EmbedReport, out: str) -> None:
    columns = ("output", "parts", "there before", "rows", "failed items", "failed parts", "stale parts")
    stale = f"{len(report.stale)}{' removed' if report.pruned and report.stale else ''}"
    numbers = (report.units, report.done, report.vectors, report.failures, len(report.failed), stale)
    output.table(output.Table("Embedded", columns, [(out, *map(str, numbers))], numbers=columns[1:]))
