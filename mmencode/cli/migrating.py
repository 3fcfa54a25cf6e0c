"""Implement `mmencode index migrate`, which moves an index to another space, and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import output
from .failures import blame_usage
from .late import Pool, Precisions
from .options import Backend, Backends, Device, Json, Limit, LoadChoice, Modalities, Trusted, open_space

if TYPE_CHECKING:
    from ..index import Edition, LeftOut, Migrated, MigrationPlan
    from ..spaces.space import Space

SAMPLE = 32  # items of each modality by which --dry-run says how long it would take

Target = Annotated[
    str | None,
    typer.Option(
        "--to",
        help="The name of the space to move the index to, or the path of its folder.",
        metavar="SPACE",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Change nothing: say what would become of the rows, and how long it would take, by a few items.",
    ),
]
Drop = Annotated[
    bool,
    typer.Option(
        "--drop", help="Leave out the rows that can't be brought across, until the migration is undone."
    ),
]
Unverified = Annotated[
    bool,
    typer.Option(
        "--unverified",
        help="Encode the files and texts of rows that were added as vectors, though they may have changed.",
    ),
]
Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        help="The folder to which keys that are relative paths are relative. If omitted, the current one.",
        exists=True,
        file_okay=False,
        metavar="FOLDER",
    ),
]
Undo = Annotated[
    bool,
    typer.Option("--undo", help="Go back to the rows before the last migration, with all that it left out."),
]
Redo = Annotated[bool, typer.Option("--redo", help="Go to the rows of the migration that was undone last.")]
Cancel = Annotated[
    bool, typer.Option("--cancel", help="Remove what an unfinished migration has done so far.")
]
Forget = Annotated[
    bool,
    typer.Option(
        "--forget",
        help="Remove the rows that are kept for --undo and --redo, and an unfinished migration.",
    ),
]


def migrate(
    index: Annotated[Path, typer.Argument(help="The folder that holds the index.", metavar="INDEX")],
    to: Target = None,
    dry_run: DryRun = False,
    drop: Drop = False,
    unverified: Unverified = False,
    root: Root = None,
    undo: Undo = False,
    redo: Redo = False,
    cancel: Cancel = False,
    forget: Forget = False,
    pool: Pool = None,
    precision: Precisions = None,
    device: Device = "auto",
    backend: Backend = Backends.torch,
    limit: Limit = None,
    trust: Trusted = False,
    modalities: Modalities = None,
    json: Json = False,
) -> None:
    """Move an index to another space: its rows are encoded anew.

    The index can be searched and added to meanwhile, and is swapped in one step at the end. A command that
    was interrupted goes on when it is repeated. The old rows are kept until --forget. Rows whose files are
    gone or changed, and whose texts aren't kept, are listed before anything starts.

    \b
    Example: mmencode index migrate photos.index --to openclip/ViT-B-32/laion2b_s34b_b79k --dry-run
    Example: mmencode index migrate photos.index --undo
    """
    asked = {"--to": to is not None, "--undo": undo, "--redo": redo, "--cancel": cancel, "--forget": forget}
    if sum(asked.values()) != 1:
        raise typer.BadParameter(f"name one of {', '.join(asked)}")
    if to is None:
        if dry_run or drop or unverified:
            raise typer.BadParameter("--dry-run, --drop and --unverified are for a migration --to a space")
        _change(index, undo=undo, redo=redo, cancel=cancel, json=json)
        return
    choice = LoadChoice(device=device, backend=backend, limit=limit, trust=trust, modalities=modalities)
    options: dict[str, Any] = {"root": root, "pool": pool, "precision": precision and str(precision)}
    _require_index(index)
    with open_space(to, choice) as space:
        if dry_run:
            _show(_plan(index, space, options, SAMPLE), index, json=json)
        else:
            _move(index, space, options, drop=drop, unverified=unverified, json=json)


def describe_editions(editions: Sequence[Edition]) -> dict[str, str]:
    """Describe how an index came to its space, and the rows in other spaces that are kept beside."""
    found: dict[str, str] = {}
    for edition in editions:
        said = f"{edition.space}, {edition.rows} rows, {edition.bytes} bytes"
        if edition.standing != "current":
            name = f"{edition.standing} edition"
            found[name] = f"{found[name]}; {said}" if name in found else said
        elif edition.mapped or edition.left_out:
            found["migration"] = f"{edition.mapped} rows mapped by a bridge, {edition.left_out} left out"
    return found


def _require_index(index: Path) -> None:
    """Raise StoreError for a folder that is no index, before a space is loaded."""
    from ..index import History

    History(index)


def _plan(index: Path, space: Space, options: dict[str, Any], sample: int) -> MigrationPlan:
    from ..index import plan_migration

    with blame_usage():
        plan = plan_migration(index, space, sample=sample, **options)
    _list("can't be brought across", plan.lost)
    _list("may have changed", plan.unverified)
    return plan


def _show(plan: MigrationPlan, index: Path, *, json: bool) -> None:
    """Print what a migration would do."""
    if json:
        output.document(
            {
                "source": plan.source,
                "target": plan.target,
                "encoded": dict(plan.encoded),
                "mapped": dict(plan.mapped),
                "done": plan.done,
                "unverified": _documents(plan.unverified),
                "lost": _documents(plan.lost),
                "seconds": plan.seconds,
            }
        )
        return
    if not plan.is_needed:
        output.note(f"the index is of {plan.source} already: there is nothing to do")
        return
    names = sorted({*plan.encoded, *plan.mapped, *(row.modality for row in plan.lost)})
    rows = [
        (
            name,
            str(plan.encoded.get(name, 0)),
            str(plan.mapped.get(name, 0)),
            str(sum(row.modality == name for row in plan.lost)),
        )
        for name in names
    ]
    columns = ("modality", "encoded", "mapped", "lost")
    output.table(output.Table(f"{index}: {plan.source} to {plan.target}", columns, rows, columns[1:]))
    if plan.done:
        output.note(f"{plan.done} of these rows are done already")
    if plan.seconds is not None:
        output.note(f"encoding would take about {_describe_time(plan.seconds)}")


def _move(
    index: Path, space: Space, options: dict[str, Any], *, drop: bool, unverified: bool, json: bool
) -> None:
    """Migrate the index, and print what was done."""
    from ..index import migrate as run

    _plan(index, space, options, 0)
    try:
        with blame_usage():
            done: Migrated = run(index, space, drop=drop, unverified=unverified, progress=True, **options)
    except KeyboardInterrupt:
        output.note("interrupted: the index is as it was, and the same command goes on; --cancel gives it up")
        raise
    if json:
        output.document(
            {
                "source": done.source,
                "target": done.target,
                "encoded": done.encoded,
                "mapped": done.mapped,
                "left_out": _documents(done.left_out),
            }
        )
        return
    if done.source == done.target:
        output.note(f"the index is of {done.source} already: there is nothing to do")
        return
    columns = ("space", "encoded", "mapped", "left out")
    values = (done.target, str(done.encoded), str(done.mapped), str(len(done.left_out)))
    output.table(output.Table(str(index), columns, [values], columns[1:]))
    output.note(f"the rows of {done.source} are kept: --undo goes back to them, --forget removes them")


def _change(index: Path, *, undo: bool, redo: bool, cancel: bool, json: bool) -> None:
    """Undo, redo, cancel or forget migrations, and print what the index is then."""
    from ..index import History

    history = History(index)
    if undo or redo:
        changed = undo and history.changed_since()
        edition: Edition = history.undo() if undo else history.redo()
        if changed:
            output.note("what was written since the migration isn't in these rows: --redo goes to it")
        if json:
            output.document({"space": edition.space, "rows": edition.rows})
        else:
            columns = ("space", "rows")
            values = (edition.space, str(edition.rows))
            output.table(output.Table(str(index), columns, [values], columns[1:]))
        return
    freed = history.cancel() if cancel else history.forget()
    if json:
        output.document({"bytes": freed})
    else:
        output.table(output.Table(str(index), ("bytes removed",), [(str(freed),)], ("bytes removed",)))


def _list(what: str, rows: Sequence[LeftOut]) -> None:
    if rows:
        listed = [(row.key, row.modality, row.reason) for row in rows]
        title = f"{len(rows)} rows {what}"
        output.table(output.Table(title, ("row", "modality", "reason"), listed), err=True, titled=True)


def _documents(rows: Sequence[LeftOut]) -> list[dict[str, str]]:
    return [{"row": row.key, "modality": row.modality, "reason": row.reason} for row in rows]


def _describe_time(seconds: float) -> str:
    """Say a time in a unit that fits it."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds" if seconds >= 2 else f"{seconds:.1f} seconds"
