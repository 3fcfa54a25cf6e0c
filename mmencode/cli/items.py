"""Turn the arguments of a command into a batch of items: texts, files, those of folders, rows of tables."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import InputError, MmencodeError
from ..plugins.composites import is_composite
from ..plugins.modalities import find_modality, walked_modalities
from . import output
from .failures import blame_usage
from .lists import read_lines

if TYPE_CHECKING:
    from ..inputs.listed import ListedItem


@dataclass(slots=True)
class Items:
    """The items of a batch, errors of unreadable folders, and counts of the files left out, by reason.

    rows   where the items come from a table: the row of each
    """

    batch: list[Any] = field(default_factory=list)
    errors: list[InputError] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    rows: list[ListedItem] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        """The key of each item: that of its row, or else the text or path that it is."""
        return [row.key for row in self.rows] if self.rows else self.batch

    def blame(self, errors: Iterable[InputError]) -> list[InputError]:
        """List all errors, with those of the batch's items; of items in a table, the source names the row."""
        found = list(self.errors)
        for error in errors:
            told = copy(error)
            if self.rows and error.index is not None:
                told.source, told.index = f"{self.rows[error.index].place}, {error.source}", None
            found.append(told)
        return found


def gather(
    modality: str,
    arguments: Sequence[str],
    list_file: Path | None = None,
    table: Path | None = None,
    *,
    follow_links: bool = False,
    limit: list[str] | None = None,
) -> Items:
    """Collect the items that the arguments name: texts, files, and the files inside folders.

    A file that holds several items, such as the pages of a document, stands for all of them. Items that have
    parts stand in tables, which the arguments name.

    `-` stands for standard input; it and `list_file` hold one item on each line, and blank lines are skipped.
    `table` lists items in its rows. Raises MmencodeError when there is no item.
    """
    if table is not None and (arguments or list_file):
        raise typer.BadParameter(f"the items are those of {table}: name no others", param_hint="--list")
    if is_composite(modality):
        return _gather_rows(modality, _name_table(modality, arguments, list_file, table))
    if table is not None:
        return _gather_rows(modality, table)
    if not arguments and list_file is None:
        raise typer.BadParameter("name some items, or pass --file, --list, or - for standard input")
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


def _name_table(modality: str, arguments: Sequence[str], list_file: Path | None, table: Path | None) -> Path:
    """Find the table of items that have parts; wrong usage for anything else, since no line holds those."""
    if table is not None:
        return table
    if len(arguments) != 1 or list_file is not None or os.path.isdir(arguments[0]):
        from ..inputs.listed import columns_of

        columns = " and ".join(columns_of(modality))
        raise typer.BadParameter(
            f"items of {modality} have parts: name one table of them, .jsonl, .csv or .parquet, with the "
            f"columns {columns}",
            param_hint="--list",
        )
    return Path(arguments[0])


def _gather_rows(modality: str, table: Path) -> Items:
    """Collect the items of a table; wrong usage for a file that is none."""
    found = read_table(modality, table)
    if not found.batch and not found.errors:
        raise MmencodeError(f"there are no items in {table}", remedy="write a row for each")
    return found


def read_table(modality: str, table: Path, *, unique: bool = False) -> Items:
    """Read the items of a table; wrong usage for a file that is none. `unique` is that of `read_listed`."""
    from ..inputs.listed import read_listed

    found = Items()
    with blame_usage("--list"):
        for row in read_listed(table, modality, unique=unique):
            if isinstance(row, InputError):
                found.errors.append(row)
            else:
                found.rows.append(row)
                found.batch.append(row.item)
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
