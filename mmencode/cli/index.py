"""Implement `mmencode index`, which keeps the vectors of folders in an index for later searches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import output
from .adding import TableRows
from .failures import CommandGroup, blame_usage
from .items import note_left_out
from .late import Pool, Precision, Precisions, create_index, require_settings
from .migrating import describe_editions, migrate
from .options import (
    Backend,
    Backends,
    Device,
    FollowLinks,
    Json,
    Limit,
    LoadChoice,
    Modalities,
    PartWeights,
    SpaceName,
    Table,
    Trusted,
    fuse_as_asked,
    open_space,
)

if TYPE_CHECKING:
    from ..index import Added, Failure, Index
    from ..index.folders import Missing

HELP = """Keep vectors of files in an index for later searches.

\b
Examples:
  mmencode index add photos.index photos/
  mmencode index sync photos.index photos/
  mmencode index failures photos.index
  mmencode index migrate photos.index --to SPACE
"""

app: typer.Typer = typer.Typer(cls=CommandGroup, help=HELP, no_args_is_help=True, rich_markup_mode=None)

IndexPath = Annotated[Path, typer.Argument(help="The folder that holds the index.", metavar="INDEX")]
Modality = Annotated[
    list[str] | None,
    typer.Option(
        "--modality",
        help="Take only files of this modality: image, audio or another with files. If omitted, those that "
        "the space can encode. Repeatable. With --list, what the items of the table are.",
        metavar="MODALITY",
    ),
]
Retry = Annotated[
    bool,
    typer.Option("--retry", help="Encode files again that failed before, even if they are unchanged."),
]


@app.command("add")
def add(
    index: IndexPath,
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            help="The folders whose files to add.", exists=True, file_okay=False, metavar="FOLDER..."
        ),
    ] = None,
    modality: Modality = None,
    table: Table = None,
    weight: PartWeights = None,
    retry: Retry = False,
    follow_links: FollowLinks = False,
    pool: Pool = None,
    precision: Precisions = None,
    space: SpaceName = None,
    device: Device = "auto",
    backend: Backend = Backends.torch,
    limit: Limit = None,
    trust: Trusted = False,
    modalities: Modalities = None,
    json: Json = False,
) -> None:
    """Add the files of folders, or a table's items, to an index.

    The index is created if it doesn't exist. Items that the index holds unchanged aren't encoded again, so an
    interrupted command can be repeated to continue. Columns of a table that are no part and no key become
    metadata.

    \b
    Example: mmencode index add photos.index photos/
    Example: mmencode index add dresses.index --modality image+text --list dresses.jsonl
    """
    choice = LoadChoice(device=device, backend=backend, limit=limit, trust=trust, modalities=modalities)
    if table is not None:
        if folders:
            raise typer.BadParameter("add folders and a table one after the other", param_hint="--list")
        rows = TableRows.read(table, modality)
        with _open_or_create(index, space, choice, pool, precision, (rows.modality, weight)) as opened:
            rows.add(opened, retry=retry, json=json)
        return
    if not folders:
        raise typer.BadParameter("name a folder of files, or a table of items with --list")
    if weight:
        raise typer.BadParameter("it is for items with parts: pass them with --list", param_hint="--weight")
    with _open_or_create(index, space, choice, pool, precision) as opened:
        _fill(opened, folders, modality, missing="keep", follow_links=follow_links, retry=retry, json=json)


@app.command("sync")
def sync(
    index: IndexPath,
    folder: Annotated[
        Path,
        typer.Argument(
            help="The folder that the index mirrors.", exists=True, file_okay=False, metavar="FOLDER"
        ),
    ],
    modality: Modality = None,
    retry: Retry = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", help="Remove the rows of missing files even if more than a quarter are missing."
        ),
    ] = False,
    follow_links: FollowLinks = False,
    device: Device = "auto",
    backend: Backend = Backends.torch,
    limit: Limit = None,
    trust: Trusted = False,
    modalities: Modalities = None,
    json: Json = False,
) -> None:
    """Bring an index up to date with a folder.

    New files are added, changed ones are encoded again, and the rows of missing ones are removed. If more
    than a quarter of the files are missing, or the folder is empty, a disk may not be mounted: rows are then
    removed only with --yes.

    \b
    Example: mmencode index sync photos.index photos/
    """
    choice = LoadChoice(device=device, backend=backend, limit=limit, trust=trust, modalities=modalities)
    with _open(index, choice) as opened:
        missing: Missing = "remove" if yes else "few"
        _fill(opened, [folder], modality, missing=missing, follow_links=follow_links, retry=retry, json=json)


@app.command("build")
def build(
    index: IndexPath,
    output_of: Annotated[
        str,
        typer.Argument(
            help="The folder or address that `mmencode embed` wrote to as its --output.", metavar="OUTPUT"
        ),
    ],
    partial: Annotated[
        bool,
        typer.Option("--partial", help="Build of what is there, even if parts of the source are missing."),
    ] = False,
    space: SpaceName = None,
    device: Device = "auto",
    trust: Trusted = False,
    json: Json = False,
) -> None:
    """Build an index of vectors that `mmencode embed` wrote.

    Nothing is encoded again. The index appears whole or not at all, and lists the items that failed. An
    unfinished output, one of another space and keys that come twice are refused. Parts that belong to no file
    of the source any more are left out.

    \b
    Example: mmencode index build photos.index embedded/
    """
    from ..scale import build_index

    opened = None if space is None else open_space(space, LoadChoice(device=device, trust=trust))
    report = build_index(output_of, index, space=opened, partial=partial)
    counts = {
        "rows": report.rows,
        "failures": report.failures,
        "stale_parts": len(report.stale),
        "missing_parts": len(report.missing),
    }
    if json:
        output.document({"index": str(index), **counts})
        return
    names = tuple(name.replace("_", " ") for name in counts)
    output.table(output.Table(str(index), names, [tuple(map(str, counts.values()))], names))


@app.command("failures")
def failures(index: IndexPath, json: Json = False) -> None:
    """List the files that couldn't be encoded, each with the reason.

    \b
    Example: mmencode index failures photos.index
    """
    with _open(index, LoadChoice(device="cpu")) as opened:
        found = opened.failures()
    if json:
        output.document({"failures": _documents(found)})
    else:
        rows = [(failure.key, failure.modality, failure.reason) for failure in found]
        output.table(output.Table("Failures", ("file", "modality", "reason"), rows))


@app.command("info")
def info(index: IndexPath, json: Json = False) -> None:
    """Show the space of an index, its rows, sizes and search method.

    \b
    Example: mmencode index info photos.index
    """
    from ..index import History

    with _open(index, LoadChoice(device="cpu")) as opened:
        state, card = opened.state(), opened.card
    editions = History(index).editions()
    facts: dict[str, Any] = {
        "space": card.id,
        "dim": card.dim,
        "rows": dict(state.rows),
        "vectors": state.layout.describe(),
        "failures": state.failures,
        "bytes": state.bytes,
        "search": state.method or "exact",
        "rows_searched_exactly": sum(state.rows.values()) - state.covered,
        "bytes_in_memory": state.memory,
        "full_text": dict(state.full_text),
    }
    if json:
        kept = [asdict(edition) for edition in editions]
        output.document({**facts, "editions": kept, "card": {**card.to_dict(), "probes": None}})
        return
    facts["rows"] = ", ".join(f"{count} {modality}" for modality, count in state.rows.items()) or "none"
    held = "; ".join(f"{column}: {how}" for column, how in state.full_text.items())
    facts["full_text"] = held or "none"
    facts["bytes_in_memory"] = state.memory or "none: vectors stay on disk"
    facts |= {tower.modality: tower.name for tower in card.towers} | describe_editions(editions)
    lines = [(name.replace("_", " "), str(value)) for name, value in facts.items()]
    output.table(output.Table(str(index), ("what", "value"), lines))


app.command("migrate")(migrate)


def _open(path: Path, choice: LoadChoice) -> Index:
    from ..index import Index

    return Index.open(path, **choice.options())


def _open_or_create(
    path: Path,
    space: str | None,
    choice: LoadChoice,
    pool: int | None,
    precision: Precision | None,
    fused: tuple[str, Sequence[str] | None] = ("", None),
) -> Index:
    """Open the index, or create it if it doesn't exist; an existing one must be of the named space.

    `fused` is a composite with the weights, if any, by which its parts are summed up.
    """
    from ..index import Index

    if not path.exists():
        with suppress(FileExistsError):  # another process has created it since `path.exists()`
            made = fuse_as_asked(open_space(space, choice), *fused)
            if fused[0]:
                made.spec(fused[0])  # or the error, before a folder is made
            return create_index(path, made, pool, precision)
        space = None
    opened = _open(path, choice) if space is None else Index.open(path, space=open_space(space, choice))
    require_settings(opened, pool, precision)
    if fused[1]:
        opened = Index.open(path, space=fuse_as_asked(opened.space, *fused))
    return opened


def _fill(
    index: Index,
    folders: Iterable[Path],
    modality: list[str] | None,
    *,
    missing: Missing,
    follow_links: bool,
    retry: bool,
    json: bool,
) -> None:
    """Bring the index up to date with folders, and report what was done."""
    from ..index import Added

    done = Added(0, 0)
    with blame_usage("--modality"):
        for folder in folders:
            done += index.sync(
                folder,
                modality,
                missing=missing,
                follow_links=follow_links,
                retry=retry,
                progress=True,
            )
    if done.added or done.removed:
        index.compact()
    _report(index, done, json=json)


def _report(index: Index, done: Added, *, json: bool) -> None:
    """Print the counts of what was done; exit with code 1 if the index stays empty."""
    counts = {name: getattr(done, name) for name in ("added", "unchanged", "removed")}
    failed = done.failed
    if json:
        output.document(
            {
                "space": index.card.id,
                **counts,
                "rows": len(index),
                "failed": _documents(failed),
                "left_out": dict(done.left_out),
            }
        )
    else:
        columns = (*counts, "failed", "rows")
        values = (*map(str, counts.values()), str(len(failed)), str(len(index)))
        output.table(output.Table(str(index.path), columns, [values], columns))
    if failed:
        output.note(f"{len(failed)} failed: `mmencode index failures` lists them, --retry encodes them again")
    note_left_out(done.left_out)
    if not len(index) and not counts["removed"]:
        output.note("error: the index is empty: no file of the folders could be encoded")
        raise typer.Exit(1)


def _documents(failed: Iterable[Failure]) -> list[dict[str, str]]:
    return [
        {
            "item": failure.key,
            "modality": failure.modality,
            "reason": failure.reason,
            "fault": failure.fault,
        }
        for failure in failed
    ]
