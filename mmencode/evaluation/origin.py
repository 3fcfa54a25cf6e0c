"""Where the rows of an evaluation come from, and which of them were left out before it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..inputs.tables import FILES, TableRow, read_rows


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row or an item that no figure counts, and why."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Origin:
    """What readers know about their rows: a key for each, that says which item it is, and what they left out.

    `source` names the data in reports.
    """

    source: str = ""
    keys: tuple[str, ...] | None = None
    left_out: tuple[LeftOut, ...] = ()

    def keys_of(self, items: Sequence[Any]) -> tuple[str, ...]:
        """The keys of so many items: those given, or made of the items. ValueError unless one for each."""
        keys = (
            tuple(_key(item, place) for place, item in enumerate(items)) if self.keys is None else self.keys
        )
        if len(keys) != len(items):
            raise ValueError(f"{len(items)} items have {len(keys)} keys: give one for each")
        return keys


def _key(item: Any, place: int) -> str:
    """What tells an item from others: its path, its text, its bytes' digest, or else its place."""
    if isinstance(item, str | os.PathLike):
        return os.fsdecode(item)
    return content_key(item) if isinstance(item, bytes) else f"item {place}"


def content_key(content: bytes) -> str:
    """The key of an item that is given as bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def table_rows(path: str | os.PathLike[str]) -> tuple[list[TableRow], list[str]]:
    """All rows of a table, and the columns that any of them has, in order. InputError without rows."""
    rows = list(read_rows(path))
    if not rows:
        raise InputError("it has no rows", source=str(path), remedy="give a table with a header and rows")
    return rows, list(dict.fromkeys(name for row in rows for name in row))


def require_column(name: str, columns: Sequence[str], path: str | os.PathLike[str]) -> str:
    """The name of the column, or InputError with those that there are."""
    if name in columns:
        return name
    raise InputError(
        f"it has no column {name!r}", source=str(path), remedy=f"name one of {', '.join(columns)}"
    )


def blank(value: Any) -> bool:
    """Whether a cell of a table holds nothing."""
    return value is None or (isinstance(value, str | bytes) and not value.strip())


def key_in_table(item: Any, modality: str, path: str | os.PathLike[str], number: int) -> str:
    """The key of an item that a row of a table names: a file's path as it stands there."""
    if isinstance(item, bytes):
        return content_key(item)
    if not isinstance(item, str):
        raise _unfit(item, "no item", path, number)
    return Path(item).as_posix() if modality in FILES else item


def word(value: Any, path: str | os.PathLike[str], number: int) -> str:
    """A label or caption of a row, which may be a number."""
    if not isinstance(value, str | int):
        raise _unfit(value, "no word", path, number)
    return str(value).strip()


def _unfit(value: Any, what: str, path: str | os.PathLike[str], number: int) -> InputError:
    return InputError(
        f"row {number} has {value!r:.100}, which is {what}",
        source=str(path),
        remedy="name the right columns",
        index=number,
    )
