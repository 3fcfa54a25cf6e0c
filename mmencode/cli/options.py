"""The options that several commands share, and the space that they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..space import Space

SpaceName = Annotated[
    str | None,
    typer.Option("--space", help="Name of the space; the default one if not given.", metavar="NAME"),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]
Html = Annotated[
    Path | None, typer.Option("--html", help="Write a page that shows them, in this file.", metavar="FILE")
]
ListFile = Annotated[
    Path | None,
    typer.Option("--file", help="A file with one more item on each line.", exists=True, dir_okay=False),
]


def open_space(name: str | None, device: str) -> Space:
    """Make ready the named or the default space; from here on torch is loaded."""
    from .. import load, registry

    return load(registry().default_space() if name is None else name, device=device)


def require_folder_of(path: Path | None, option: str) -> None:
    """Find out before the work rather than after it that a file couldn't be written."""
    if path is None:
        return
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a folder: name a file", param_hint=option)
    if not path.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.parent}", param_hint=option)
