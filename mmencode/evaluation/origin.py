"""The origin of the items of an evaluation: their source, their keys, and the rows left out in reading."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..inputs.tables import TableRow, read_rows
from ..plugins.modalities import names_files


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row or an item that no figure counts, and why."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of items, the key that identifies each, and the rows that were left out in reading.

    source   names the data in reports
    keys     one for each item; None makes them of the items
    """

    source: str = ""
    keys: tuple[str, ...] | None = None
    left_out: tuple[LeftOut, ...] = ()

    def keys_of(self, items: Sequence[Any]) -> tuple[str, ...]:
        """Take the keys given, or make one of each item; ValueError unless there is one for each."""
        keys = (
            tuple(_key(item, place) for place, item in enumerate(items)) if self.keys is None else self.keys
        )
        if len(keys) != len(items):
            raise ValueError(f"{len(items)} items have {len(keys)} keys: give one for each")
        return keys


def _key(item: Any, place: int) -> str:
    """The key of an item: its path, its text, the digest of its bytes, or else its place."""
    if isinstance(item, str | os.PathLike):
        return os.fsdecode(item)
    return content_key(item) if isinstance(item, bytes) else f"item {place}"


def content_key(content: bytes) -> str:
    """The key of an item that is given as bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def read_table(path: str | os.PathLike[str]) -> tuple[list[TableRow], list[str]]:
    """Read all rows of a table, and the columns that any row has, in order; InputError without rows."""
    rows = list(read_rows(path))
    if not rows:
        raise InputError(
            "the table has no rows", source=str(path), remedy="give a table with a header and rows"
        )
    return rows, list(dict.fromkeys(name for row in rows for name in row))


def require_column(name: str, columns: Sequence[str], path: str | os.PathLike[str]) -> str:
    """Return the name of a column; InputError, which lists the columns, when the table has no such one."""
    if name in columns:
        return name
    raise InputError(
        f"the table has no column {name!r}", source=str(path), remedy=f"name one of {', '.join(columns)}"
    )


def is_empty_cell(value: Any) -> bool:
    """Whether a cell of a table holds nothing."""
    return value is None or (isinstance(value, str | bytes) and not value.strip())


def make_key(item: Any, modality: str, path: str | os.PathLike[str], number: int) -> str:
    """Make the key of an item that a row of a table names; a file's is its path as the table has it."""
    if isinstance(item, bytes):
        return content_key(item)
    if not isinstance(item, str):
        raise _type_error(item, "an item", path, number)
    return Path(item).as_posix() if names_files(modality) else item


def read_word(value: Any, path: str | os.PathLike[str], number: int) -> str:
    """Read a label or caption of a row, which may be a number; InputError for another type."""
    if not isinstance(value, str | int):
        raise _type_error(value, "a word", path, number)
    return str(value).strip()


def _type_error(value: Any, what: str, path: str | os.PathLike[str], number: int) -> InputError:
    return InputError(
        f"row {number} has {value!r:.100}, which isn't {what}",
        source=str(path),
        remedy="name the columns of items, labels and captions",
        index=number,
    )
