"""The options that several commands share, and the space that they name."""

from __future__ import annotations

import os
import shlex
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import LabelError, MmencodeError

if TYPE_CHECKING:
    from ..inputs import Limits
    from ..spaces.space import Space

SpaceName = Annotated[
    str | None,
    typer.Option("--space", help="Name of the space; the default one if not given.", metavar="NAME"),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        help="Raise or lower a limit on items, such as pixels=500000000 or wait=300. May be repeated. The "
        "limits are bytes, pixels, scans, memory, seconds, samples, characters and wait.",
        metavar="NAME=NUMBER",
    ),
]
Trusted = Annotated[
    bool,
    typer.Option("--trust", help="Fetch the checkpoints that the card of a folder or an index names."),
]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Take links that lead out of the folders, too.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]
Html = Annotated[
    Path | None, typer.Option("--html", help="Write a page that shows them, in this file.", metavar="FILE")
]
ListFile = Annotated[
    Path | None,
    typer.Option("--file", help="A file with one more item on each line.", exists=True, dir_okay=False),
]
Templates = Annotated[
    list[str] | None,
    typer.Option("--template", help='How a label reads: "a photo of a {label}". Several are averaged.'),
]
TemplateSet = Annotated[
    str | None, typer.Option(help="A set of templates instead: openai, simple, sounds.", metavar="NAME")
]


class DuplicateLabels(str, Enum):
    """What becomes of labels that can't be told apart."""

    refuse = "refuse"
    keep = "keep"


Duplicates = Annotated[
    DuplicateLabels,
    typer.Option(help="Whether labels that can't be told apart are kept, as published lists have them."),
]


def chosen_templates(given: list[str] | None, name: str | None) -> str | list[str] | None:
    """The templates, checked before anything is read; None where the encoder's own prompt is to be used."""
    from ..zeroshot.templates import templates_of

    if given and name:
        raise typer.BadParameter("pass --template or --template-set, not both", param_hint="--template-set")
    try:
        return name or (list(templates_of(given)) if given else None)
    except LabelError as cause:
        raise typer.BadParameter(f"{cause.fact}; {cause.remedy}", param_hint="--template") from cause


def open_space(name: str | None, device: str, limit: list[str] | None = None, trust: bool = False) -> Space:
    """Make ready the named or the default space; from here on torch is loaded."""
    from .. import load, registry

    chosen = registry().default_space() if name is None else name
    return load(chosen, device=device, limits=chosen_limits(limit), trust="names" if trust else None)


def chosen_limits(given: list[str] | None) -> Limits:
    """The limits on items, with those of `--limit NAME=NUMBER` in place of the defaults."""
    from ..inputs import Limits

    chosen: dict[str, Any] = {}
    for text in given or ():
        name, _, number = text.partition("=")
        try:
            chosen[name] = int(number) if number.lstrip("-").isdigit() else float(number)
        except ValueError:
            raise typer.BadParameter(
                f"{text!r} isn't NAME=NUMBER, such as pixels=500000000", param_hint="--limit"
            ) from None
    try:
        return Limits(**chosen)
    except TypeError:
        known = {field.name for field in fields(Limits)}
        unknown = ", ".join(repr(name) for name in chosen if name not in known)
        raise typer.BadParameter(
            f"there is no limit {unknown}: they are {', '.join(sorted(known))}", param_hint="--limit"
        ) from None
    except ValueError as cause:
        raise typer.BadParameter(str(cause), param_hint="--limit") from cause


def require_no_link(folder: Path) -> None:
    """Refuse to write into a folder that is a link, which whoever put it there leads anywhere."""
    if folder.is_symlink():
        raise MmencodeError(
            f"{folder} is a link, and nothing is written through one",
            remedy=f"name the folder that it leads to: -o {shlex.quote(os.path.realpath(folder))}",
        )


def require_folder_of(path: Path | None, option: str) -> None:
    """Find out before the work rather than after it that a file couldn't be written."""
    if path is None:
        return
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a folder: name a file", param_hint=option)
    if not path.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.parent}", param_hint=option)
