"""Turn the arguments of a command into a batch of items: texts, files, and the files of folders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer

from ..errors import InputError, MmencodeError
from ..plugins.modalities import find_modality, walked_modalities
from . import output
from .lists import read_lines


@dataclass(slots=True)
class Items:
    """The items of a batch, errors of unreadable folders, and counts of the files left out, by reason."""

    batch: list[str] = field(default_factory=list)
    errors: list[InputError] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def gather(
    modality: str,
    arguments: Sequence[str],
    list_file: Path | None = None,
    *,
    follow_links: bool = False,
    limit: list[str] | None = None,
) -> Items:
    """Collect the items that the arguments name: texts, files, and the files inside folders.

    A file that holds several items, such as the pages of a document, stands for all of them.

    `-` stands for standard input; it and `list_file` hold one item on each line, and blank lines are skipped.
    Raises MmencodeError when there is no item.
    """
    if not arguments and list_file is None:
        raise typer.BadParameter("name some items, or pass --file, or - for standard input")
    named = [item for argument in arguments for item in (read_lines(None) if argument == "-" else [argument])]
    if list_file is not None:
        named += read_lines(list_file)
    if not named:
        raise MmencodeError("there are no items: every line is blank", remedy="put one on each line")
    spec = find_modality(modality)
    if spec is not None and spec.inline:
        return Items(named)
    found = Items()
    for item in named:
        if os.path.isdir(item):
            _walk(modality, item, found, follow_links=follow_links)
        else:
            found.batch.append(item)
    if spec is not None and spec.part:
        _expand(modality, found, limit)
    note_left_out(found.left_out)
    if not found.batch and not found.errors:
        raise MmencodeError(
            f"no {modality} files in {', '.join(named)}",
            remedy=f"folders are searched for files that end in {' '.join(_endings(modality))}; name other "
            "files one by one",
        )
    return found


def _expand(modality: str, found: Items, limit: list[str] | None) -> None:
    """Put the items of each file into its place; a file whose items can't be counted becomes an error."""
    from ..inputs import list_parts
    from .options import parse_limits

    limits, files = parse_limits(limit), found.batch
    found.batch = []
    for path in files:
        try:
            found.batch += list_parts(modality, path, limits)
        except InputError as error:
            found.errors.append(error)


def note_left_out(left_out: Mapping[str, int]) -> None:
    """Print on standard error how many files of the folders were left out, by reason."""
    if left_out:
        from ..inputs.walking import summary

        output.note(f"left out of the folders: {summary(left_out)}")


def _endings(modality: str) -> tuple[str, ...]:
    """The file endings of a modality; wrong usage for a modality whose files have none."""
    from ..inputs.walking import endings_of

    walked = walked_modalities()
    if modality not in walked:
        raise typer.BadParameter(
            f"folders can be searched for {' and '.join(walked)} files, not for {modality!r}: name the "
            "files one by one"
        )
    return endings_of(modality)


def _walk(modality: str, folder: str, found: Items, *, follow_links: bool) -> None:
    """Add a folder's files, errors of subfolders that can't be listed, and counts of files left out."""
    from ..inputs.walking import Walk

    _endings(modality)  # refuses a modality without file endings
    walk = Walk(folder, modality, follow_links=follow_links)
    found.batch += walk
    found.left_out += walk.left_out
    found.errors += [
        InputError(reason, source=path, remedy="check its permissions", fault="access")
        for path, reason in walk.unlisted
    ]
