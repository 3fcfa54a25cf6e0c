"""Implement `mmencode list` and `mmencode plugins`, which show what is installed without loading encoders."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import MmencodeError, PluginError, SpecError, UnknownNameError
from ..plugins.registry import Registry, registry
from ..plugins.spec import EncoderSpec
from . import output
from .options import Json

if TYPE_CHECKING:
    from ..plugins import Plugin

MOST = 5  # faults listed for one plugin
LONG = 20  # rows from which on a table on a terminal is shortened


def list_encoders(
    pattern: Annotated[
        str | None,
        typer.Argument(
            help="A part of the name of an encoder, a space or an alias, or a pattern with * and ?. If "
            "omitted, every encoder is listed.",
            metavar="PATTERN",
        ),
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="List only encoders of this modality.", metavar="MODALITY")
    ] = None,
    json: Json = False,
) -> None:
    """List the installed encoders and the spaces they share.

    A name that ends in /* is a family of checkpoints: the name of any of them can stand in place of the star.
    With a pattern, the known checkpoints of families are searched, too. The state of an encoder says whether
    it can be used, and what to do if not.

    \b
    Example: mmencode list "offline*" --modality image
    Example: mmencode list "openclip/ViT-B-32/*"
    Example: mmencode list convnext
    """
    known = registry()
    rows, unread = _search(known, pattern, modality)
    if not rows and pattern is not None and not modality:
        rows = [
            _row(known.distribution(spec.name), spec, _state(known, known.distribution(spec.name), spec))
            for spec in _find_specs(known, pattern)
        ]
    if not rows:
        raise MmencodeError(
            "no encoder matches", remedy="`mmencode list` without arguments shows all of them"
        )
    if json:
        output.document(rows)
    else:
        table = _table(rows)
        output.table(_shorten(table) if len(rows) > LONG and output.is_terminal(output.results()) else table)
    for error in unread:
        from ..plugins.discovery import explain

        output.note(explain(error))
    if known.failed:
        output.note(f"failed to load: {_names(known.failed)}; `mmencode plugins` says why")


def _search(
    known: Registry, pattern: str | None, modality: str | None
) -> tuple[list[dict[str, Any]], list[SpecError]]:
    """Find the declared encoders that match and, for a pattern, the matching members of families.

    Gives their rows, sorted, and the errors of catalogues of members that can't be read.
    """
    rows: list[dict[str, Any]] = []
    unread: list[SpecError] = []
    declared = [(plugin.distribution, spec) for plugin in known.plugins for spec in plugin.specs]
    for distribution, spec in declared:
        if modality is not None and spec.modality != modality:
            continue
        found = [spec] if pattern is None or _matches(pattern, spec) else []
        if pattern is not None:
            try:
                found += _members(pattern, spec)
            except SpecError as error:
                unread.append(error)
        state = _state(known, distribution, spec) if found else {}  # a family and its members share it
        rows += [_row(distribution, each, state) for each in found]
    return sorted(rows, key=lambda row: (row["space"], row["name"], row["distribution"])), unread


def _members(pattern: str, family: EncoderSpec) -> list[EncoderSpec]:
    """The known members of a family that match a pattern.

    A word that is part of the family's own name must also be in the rest of a member's name, since it would
    match every member otherwise.
    """
    prefixes = (family.name[:-1], family.space_name[:-1])
    if not _is_wild(pattern) and any(pattern.lower() in prefix.lower() for prefix in prefixes):
        return [member for member in family.members() if pattern.lower() in member.variant.lower()]
    return [member for member in family.members() if _matches(pattern, member)]


def _find_specs(known: Registry, name: str) -> tuple[EncoderSpec, ...]:
    """Find the encoders of the space of that name, or the encoder of that name, also within families."""
    with suppress(UnknownNameError):
        return known.space(name)
    return (known[name],)  # raises the error that suggests similar names


def _matches(pattern: str, spec: EncoderSpec) -> bool:
    """Whether a word is part of a name of the spec, or a pattern fits one, regardless of case."""
    pattern = pattern.lower() if _is_wild(pattern) else f"*{pattern.lower()}*"
    return any(fnmatchcase(name.lower(), pattern) for name in (spec.name, spec.space_name, *spec.aliases))


def _is_wild(pattern: str) -> bool:
    return any(sign in pattern for sign in "*?[")


def _row(distribution: str, spec: EncoderSpec, state: dict[str, str]) -> dict[str, Any]:
    return {
        "name": spec.name,
        "modality": spec.modality,
        "role": spec.role,
        "instructed": spec.instructed,
        "space": spec.space_name,
        "joins": spec.joins,
        "aliases": list(spec.aliases),
        "dim": spec.dim,
        "distribution": distribution,
        "licence": spec.licence,
        "description": spec.description,
        "source": spec.source,
        **state,
    }


def _state(known: Registry, distribution: str, spec: EncoderSpec) -> dict[str, str]:
    """The state of an encoder, "ok" or what keeps it from being used, and the remedy."""
    from ..plugins.packages import install_line, missing_packages

    try:
        for lost in known.set_aside:
            if lost.distribution == distribution and lost.spec.name == spec.name and not lost.alias:
                raise lost.error
        for left in known.left_out:
            if left.distribution == distribution and left.spec.name == spec.name:
                raise left.error
        known[spec.name]
        known.space(spec.space_name)
    except (PluginError, UnknownNameError) as fault:
        return {"state": fault.fact, "remedy": fault.remedy}
    missing = missing_packages(spec)
    if missing:
        return {"state": "; ".join(missing), "remedy": install_line(spec)}
    return {"state": "ok", "remedy": ""}


def _table(rows: list[dict[str, Any]]) -> output.Table:
    columns = ("name", "modality", "space", "dim", "distribution", "licence", "state")
    cells = [
        (
            row["name"],
            row["modality"],
            f"joins {row['space']}" if row["joins"] else " = ".join([row["space"], *row["aliases"]]),
            str(row["dim"] or ""),
            row["distribution"],
            row["licence"],
            f"{row['state']}: {row['remedy']}" if row["remedy"] else row["state"],
        )
        for row in rows
    ]
    return output.Table("Encoders", columns, cells, numbers=("dim",))


def _shorten(content: output.Table) -> output.Table:
    """Drop the columns that have one value in all rows, and put the value into the title.

    The table is easier to read, and drawn sooner: Rich takes up to 0.1 ms to lay out a cell, and a second for
    all of timm's checkpoints.
    """
    names, *others = zip(*content.rows, strict=True)
    headed = list(zip(content.columns[1:], others, strict=True))
    kept = [(column, cells) for column, cells in headed if len(set(cells)) > 1 and cells != names]
    same = [f"{column} {cells[0]}" for column, cells in headed if len(set(cells)) == 1 and cells[0]]
    title = f"{len(names)} encoders" + (f", each: {', '.join(same)}" if same else "")
    rows = list(zip(names, *(cells for _, cells in kept), strict=True))
    columns = (content.columns[0], *(column for column, _ in kept))
    return output.Table(title, columns, rows, numbers=content.numbers)


def list_plugins(
    json: Json = False,
    isolated: Annotated[
        bool,
        typer.Option(
            "--isolated",
            help="Import each plugin in a process of its own, so that one that hangs or exits is reported.",
        ),
    ] = False,
    seconds: Annotated[
        float,
        typer.Option(min=0.1, help="The time limit for each plugin with --isolated.", metavar="SECONDS"),
    ] = 10.0,
) -> None:
    """List the installed plugins, each with its state.

    The state is ok, or what is wrong with the plugin. The column ms is the time that importing the plugin
    took. The exit code is 0 even if some plugins failed. If a plugin makes every command hang, --isolated
    finds it, and MMENCODE_PLUGINS=-NAME in the environment disables it.

    \b
    Example: mmencode plugins
    Example: mmencode plugins --isolated
    """
    from ..plugins.barring import VARIABLE, read_choice
    from ..plugins.isolated import discover_isolated

    known = Registry(tuple(discover_isolated(seconds))) if isolated else registry()
    rows = [
        {
            "distribution": plugin.distribution,
            "version": plugin.version,
            "entry_point": plugin.entry_point,
            "encoders": len(plugin.specs),
            "modalities": [spec.name for spec in plugin.modalities],
            "state": _health(plugin, known),
            "milliseconds": round(1000 * plugin.seconds, 1),
        }
        for plugin in known.plugins
    ]
    if json:
        output.document(rows)
    else:
        columns = ("distribution", "version", "entry point", "encoders", "modalities", "state", "ms")
        cells = [
            [" ".join(value) if isinstance(value, list) else str(value) for value in row.values()]
            for row in rows
        ]
        output.table(output.Table("Plugins", columns, cells, numbers=("encoders", "ms")))
        if known.failed:
            output.note(f"failed to load: {_names(known.failed)}; the others work without them")
    for word in read_choice().idle(plugin.distribution for plugin in known.plugins):
        output.note(f"{VARIABLE} names {word}, but no plugin has that name")


def _health(plugin: Plugin, known: Registry) -> str:
    """The faults of a plugin in one line, or "ok".

    They are the reason why the whole plugin or some of its encoders aren't used, names that others declare
    too, and hints for its author.
    """
    from ..plugins.discovery import explain
    from ..plugins.health import find_faults

    faults = [plugin.cause] if plugin.cause else []
    faults += plugin.notes
    own = plugin.distribution
    faults += [explain(lost.error) for lost in known.set_aside if lost.distribution == own]
    faults += [explain(lost.error) for lost in known.modalities.set_aside if lost.distribution == own]
    faults += [explain(left.error) for left in known.left_out if left.distribution == own]
    kinds = {f"modality {name}": claimants for name, claimants in known.modalities.contested.items()}
    for name, claimants in {**known.contested, **kinds}.items():
        others = [claimant for claimant in claimants if claimant != plugin.distribution]
        if len(others) < len(claimants):
            faults.append(f"{name!r} is declared by {' and '.join(others)}, too")
    faults += find_faults(plugin)
    more = [f"and {len(faults) - MOST} more"] if len(faults) > MOST else []
    return "; ".join([*faults[:MOST], *more]) or "ok"


def _names(plugins: Sequence[Plugin]) -> str:
    return ", ".join(f"{plugin.distribution} ({plugin.entry_point})" for plugin in plugins)
