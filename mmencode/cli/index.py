"""`mmencode index`: folders of files in an index that searches needn't encode again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import MmencodeError
from . import output
from .failures import Commands
from .items import note_left_out
from .options import Device, FollowLinks, Json, Limit, SpaceName, Trusted, chosen_limits, open_space

if TYPE_CHECKING:
    from ..index import Added, Failure, Index
    from ..index.folders import Missing

HELP = """Keep the vectors of folders in an index: a folder on disk, searched without encoding again.

\b
Examples:
  mmencode index add photos.index photos/
  mmencode index sync photos.index photos/
  mmencode index failures photos.index
"""

app = typer.Typer(cls=Commands, help=HELP, no_args_is_help=True, rich_markup_mode=None)

IndexPath = Annotated[Path, typer.Argument(help="The folder of the index.", metavar="INDEX")]
Modality = Annotated[
    list[str] | None,
    typer.Option("--modality", help="image or audio; both where the space has them if not given."),
]
Retry = Annotated[bool, typer.Option("--retry", help="Try files again that failed and are unchanged.")]


@app.command("add")
def add(
    index: IndexPath,
    folders: Annotated[list[Path], typer.Argument(help="Folders of files.", exists=True, file_okay=False)],
    modality: Modality = None,
    retry: Retry = False,
    follow_links: FollowLinks = False,
    space: SpaceName = None,
    device: Device = "auto",
    limit: Limit = None,
    trust: Trusted = False,
    json: Json = False,
) -> None:
    """Add the files of folders; what is unchanged isn't encoded again.

    Makes the index when it isn't there. Interrupted at any moment, it goes on where it was when called again.

    \b
    Example: mmencode index add photos.index photos/
    """
    with _made(index, space, device, limit, trust) as opened:
        _fill(opened, folders, modality, missing="keep", follow_links=follow_links, retry=retry, json=json)


@app.command("sync")
def sync(
    index: IndexPath,
    folder: Annotated[Path, typer.Argument(help="The folder to follow.", exists=True, file_okay=False)],
    modality: Modality = None,
    retry: Retry = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove rows even where most files are gone, or a whole folder's.")
    ] = False,
    follow_links: FollowLinks = False,
    device: Device = "auto",
    limit: Limit = None,
    trust: Trusted = False,
    json: Json = False,
) -> None:
    """Make the index what a folder is: add new files, encode changed ones, remove what is gone.

    Where more than a quarter of the files are gone, or a folder is empty, a disk may not be mounted: then
    rows are removed with --yes only.

    \b
    Example: mmencode index sync photos.index photos/
    """
    with _opened(index, device, limit, trust) as opened:
        missing: Missing = "remove" if yes else "few"
        _fill(opened, [folder], modality, missing=missing, follow_links=follow_links, retry=retry, json=json)


@app.command("failures")
def failures(index: IndexPath, json: Json = False) -> None:
    """List the files that couldn't be encoded, with the reasons.

    \b
    Example: mmencode index failures photos.index
    """
    with _opened(index, "cpu") as opened:
        found = opened.failures()
    if json:
        output.document({"failures": _documents(found)})
    else:
        rows = [(failure.key, failure.modality, failure.reason) for failure in found]
        output.table(output.Table("Failures", ("file", "modality", "reason"), rows))


@app.command("info")
def info(index: IndexPath, json: Json = False) -> None:
    """Show whose vectors an index holds, how many, their size, and how they are searched.

    \b
    Example: mmencode index info photos.index
    """
    with _opened(index, "cpu") as opened:
        state, card = opened.state(), opened.card
    facts: dict[str, Any] = {
        "space": card.id,
        "dim": card.dim,
        "rows": dict(state.rows),
        "failures": state.failures,
        "bytes": state.bytes,
        "search": state.method or "exact",
        "rows_searched_exactly": sum(state.rows.values()) - state.covered,
    }
    if json:
        output.document({**facts, "card": {**card.to_dict(), "probes": None}})
        return
    facts["rows"] = ", ".join(f"{count} {modality}" for modality, count in state.rows.items()) or "none"
    facts |= {tower.modality: tower.name for tower in card.towers}
    lines = [(name.replace("_", " "), str(value)) for name, value in facts.items()]
    output.table(output.Table(str(index), ("what", "value"), lines))


def _opened(path: Path, device: str, limit: list[str] | None = None, trust: bool = False) -> Index:
    from ..index import Index

    return Index.open(path, device=device, limits=chosen_limits(limit), trust="names" if trust else None)


def _made(path: Path, space: str | None, device: str, limit: list[str] | None, trust: bool) -> Index:
    """The index, which is made when it isn't there; one that is there must be of the space that is named."""
    from ..index import Index

    if path.exists():
        if space is None:
            return _opened(path, device, limit, trust)
        return Index.open(path, space=open_space(space, device, limit, trust))
    try:
        return Index.create(path, open_space(space, device, limit, trust))
    except FileExistsError:  # made by another process meanwhile
        return _opened(path, device, limit, trust)


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
    from ..index import Added

    try:
        done = Added(0, 0)
        for folder in folders:
            done += index.sync(
                folder,
                modality,
                missing=missing,
                follow_links=follow_links,
                retry=retry,
                progress=True,
            )
    except ValueError as error:
        if isinstance(error, MmencodeError):
            raise
        raise typer.BadParameter(str(error), param_hint="--modality") from error
    if done.added or done.removed:
        index.compact()
    _report(index, done, json=json)


def _report(index: Index, done: Added, *, json: bool) -> None:
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
        output.note(f"{len(failed)} failed: `mmencode index failures` lists them, --retry tries them again")
    note_left_out(done.left_out)
    if not len(index) and not counts["removed"]:
        output.note("error: the index is empty: nothing was found that could be encoded")
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
