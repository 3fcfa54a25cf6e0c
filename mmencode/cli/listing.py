"""`mmencode list` and `mmencode plugins`: what is installed, without loading any of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Annotated, Any

import typer

from ..errors import MmencodeError, NameClashError, UnknownNameError
from ..packages import install_line, missing_packages
from ..plugins import Plugin
from ..registry import Registry, registry
from ..spec import EncoderSpec
from . import output
from .options import Json


def list_encoders(
    pattern: Annotated[
        str | None,
        typer.Argument(help="A part of a name, or a pattern with * and ?: of encoder, space or alias."),
    ] = None,
    modality: Annotated[str | None, typer.Option(help="Only encoders of this modality.")] = None,
    json: Json = False,
) -> None:
    """List encoders and the spaces they share.

    A name that ends in /* is a family: put any of its members in the place of the star.

    \b
    Example: mmencode list "offline*" --modality image
    """
    known = registry()
    declared = [(plugin.distribution, spec) for plugin in known.plugins for spec in plugin.specs]
    rows = [
        _row(known, distribution, spec)
        for distribution, spec in sorted(
            declared, key=lambda pair: (pair[1].space_name, pair[1].name, pair[0])
        )
        if (modality is None or spec.modality == modality) and (pattern is None or _matches(pattern, spec))
    ]
    if not rows and pattern is not None and not modality:
        members = _members(known, pattern)
        rows = [_row(known, known.distribution(spec.name), spec) for spec in members]
    if not rows:
        raise MmencodeError(
            "no encoder matches", remedy="`mmencode list` without arguments shows all of them"
        )
    if json:
        output.document(rows)
    else:
        output.table(_drawn(rows))
    if known.failed:
        output.note(f"failed to load: {_names(known.failed)}; `mmencode plugins` says why")


def _members(known: Registry, name: str) -> tuple[EncoderSpec, ...]:
    """The encoders of a space whose name a family stands for, or the one encoder of that name."""
    with suppress(UnknownNameError):
        return known.space(name)
    return (known[name],)  # or the error that suggests other names


def _matches(pattern: str, spec: EncoderSpec) -> bool:
    if not any(sign in pattern for sign in "*?["):
        pattern = f"*{pattern}*"
    return any(fnmatchcase(name, pattern) for name in (spec.name, spec.space_name, *spec.aliases))


def _row(known: Registry, distribution: str, spec: EncoderSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "modality": spec.modality,
        "space": spec.space_name,
        "aliases": list(spec.aliases),
        "dim": spec.dim,
        "distribution": distribution,
        "licence": spec.licence,
        "description": spec.description,
        "source": spec.source,
        **_state(known, spec),
    }


def _state(known: Registry, spec: EncoderSpec) -> dict[str, str]:
    """Whether the encoder can be used as things are, and what to do if it can't."""
    try:
        known[spec.name]
        known.space(spec.space_name)
    except NameClashError as clash:
        return {"state": clash.fact, "remedy": clash.remedy}
    missing = missing_packages(spec)
    if missing:
        return {"state": "; ".join(missing), "remedy": install_line(spec)}
    return {"state": "ok", "remedy": ""}


def _drawn(rows: list[dict[str, Any]]) -> output.Table:
    columns = ("name", "modality", "space", "dim", "distribution", "licence", "state")
    cells = [
        (
            row["name"],
            row["modality"],
            " = ".join([row["space"], *row["aliases"]]),
            str(row["dim"] or ""),
            row["distribution"],
            row["licence"],
            f"{row['state']}: {row['remedy']}" if row["remedy"] else row["state"],
        )
        for row in rows
    ]
    return output.Table("Encoders", columns, cells, numbers=("dim",))


def list_plugins(json: Json = False) -> None:
    """List installed plugins and their state.

    ms is how long importing one took. The exit code is 0 also when some failed.

    \b
    Example: mmencode plugins
    """
    known = registry()
    rows = [
        {
            "distribution": plugin.distribution,
            "version": plugin.version,
            "entry_point": plugin.entry_point,
            "encoders": len(plugin.specs),
            "state": "ok" if plugin.error is None else _cause(plugin.error),
            "milliseconds": round(1000 * plugin.seconds, 1),
        }
        for plugin in known.plugins
    ]
    if json:
        output.document(rows)
        return
    columns = ("distribution", "version", "entry point", "encoders", "state", "ms")
    cells = [[str(value) for value in row.values()] for row in rows]
    output.table(output.Table("Plugins", columns, cells, numbers=("encoders", "ms")))
    if known.failed:
        output.note(f"failed to load: {_names(known.failed)}; the others work without them")


def _cause(error: Exception) -> str:
    """The error in one line, its remedy included."""
    lines = "; ".join(line.strip() for line in str(error).splitlines())
    return f"{type(error).__name__}: {lines}"


def _names(plugins: Sequence[Plugin]) -> str:
    return ", ".join(f"{plugin.distribution} ({plugin.entry_point})" for plugin in plugins)
