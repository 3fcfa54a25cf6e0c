"""Items that a table lists, a row for each: a column for each part, one for its key, and others about it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..plugins.composites import is_interleaved, parts_of
from ..plugins.spec import modality_of_key
from .tables import item_in_folder, read_rows

KEY = "key"
PARTS = "parts"  # the column of an interleaved item's pairs
_JOINT = " + "  # between the parts in the key of an item that has none of its own


@dataclass(frozen=True, slots=True)
class ListedItem:
    """An item that a table lists: its row, from 0, its key, itself, and the values of the other columns.

    place  the row and the table, in words
    """

    number: int
    place: str
    key: str
    item: Any
    others: Mapping[str, Any] = field(default_factory=dict)


def columns_of(modality: str) -> tuple[str, ...]:
    """The columns that the items of a modality are in: its name, or those of its parts.

    A part that comes twice, as in "text+text", has its number behind its name: text.1 and text.2. Those of
    interleaved items are in one column.
    """
    if is_interleaved(modality):
        return (PARTS,)
    names = parts_of(modality) or (modality_of_key(modality),)
    several, seen = Counter(names), Counter[str]()
    found = []
    for name in names:
        seen[name] += 1
        found.append(f"{name}.{seen[name]}" if several[name] > 1 else name)
    return tuple(found)


def read_listed(
    path: str | os.PathLike[str], modality: str, *, unique: bool = False
) -> Iterator[ListedItem | InputError]:
    """Read the items of a table, .csv, .jsonl or .parquet, one by one; a bad row is given as its error.

    Relative paths are relative to the table. A part that is absent is null, or empty in CSV. An item without
    a `key` has its parts for one. With `unique`, a key that an earlier row has is an error. Interleaved items
    are a list of [modality, part] pairs in the column "parts", which CSV can't hold.

    Raises ValueError for another ending, InputError where the table itself can't be read or lacks a column,
    and MissingPackageError for Parquet without pyarrow.
    """
    table = Path(path)
    seen: dict[str, int] = {}
    for number, row in enumerate(read_rows(table)):
        if number == 0 and table.suffix.lower() != ".jsonl":  # then all rows have the columns of the first
            _require_columns(str(table), row, modality)
        try:
            found = _read_row(table, number, row, modality)
            if unique and seen.setdefault(found.key, number) != number:
                raise _bad(
                    table,
                    number,
                    f"has the key {found.key!r:.200}, which row {seen[found.key]} has",
                    f"give each row a {KEY!r} of its own",
                )
        except InputError as error:
            yield error
        else:
            yield found


def _read_row(table: Path, number: int, row: Mapping[str, Any], modality: str) -> ListedItem:
    """Read the item of a row; InputError, which names the row and the column, where it has none."""
    _require_columns(_place(table, number), row, modality)
    columns = columns_of(modality)
    empty = table.suffix.lower() == ".csv"  # which has no null
    values = [None if empty and row[name] == "" else row[name] for name in columns]
    if is_interleaved(modality):
        item: Any = [_read_pair(table, number, pair) for pair in _require_list(table, number, values[0])]
        parts = [part for _, part in item]
    else:
        names = parts_of(modality) or (modality,)
        parts = [
            _read_part(table, number, column, name, value)
            for column, name, value in zip(columns, names, values, strict=True)
        ]
        item = tuple(parts) if parts_of(modality) else parts[0]
    if all(part is None for part in parts):
        raise _bad(
            table, number, f"has nothing in {' and '.join(map(repr, columns))}", "fill it in, or leave it out"
        )
    others = {
        name: None if empty and value == "" else value
        for name, value in row.items()
        if name not in columns and name != KEY
    }
    key = _read_key(table, number, row, empty) or _JOINT.join(map(str, filter(None, parts)))
    return ListedItem(number, _place(table, number), key, item, others)


def _require_columns(source: str, row: Mapping[str, Any], modality: str) -> None:
    """Raise InputError for a row, or a table, that lacks a column of the items of a modality."""
    columns = columns_of(modality)
    lacking = [name for name in columns if name not in row]
    if lacking:
        there = ", ".join(map(str, row)) or "none"
        raise InputError(
            f"it has no {lacking[0]!r}; its columns are {there:.300}",
            source=source,
            remedy=f"items of {modality} need the columns {', '.join(columns)}, and null for an absent part",
        )


def _read_key(table: Path, number: int, row: Mapping[str, Any], empty: bool) -> str:
    """The key that a row gives its item; "" for none."""
    key = row.get(KEY)
    if key is None or (empty and key == ""):
        return ""
    if not (isinstance(key, str) and key) and type(key) is not int:
        raise _bad(table, number, f"has the key {key!r:.100}", f"make {KEY!r} a text, or leave it out")
    return str(key)


def _read_part(table: Path, number: int, column: str, modality: str, value: Any) -> Any:
    if value is not None and not isinstance(value, str):
        kind = type(value).__name__
        raise _bad(
            table, number, f"has {kind} in {column!r}", "make it a text or the path of a file, or null"
        )
    return None if value is None else item_in_folder(value, modality, table.parent)


def _require_list(table: Path, number: int, value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        what = "nothing" if value is None else type(value).__name__
        raise _bad(
            table,
            number,
            f"has {what} in {PARTS!r}",
            'make it a list of [modality, part] pairs in .jsonl: [["text", "Mix"], ["image", "a.jpg"]]',
        )
    return value


def _read_pair(table: Path, number: int, pair: Any) -> tuple[str, Any]:
    if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(word, str) for word in pair)):
        raise _bad(
            table,
            number,
            f"has {pair!r:.100} in {PARTS!r}",
            'make it a pair of texts, ["image", "a.jpg"]',
        )
    modality, part = pair
    return modality, _read_part(table, number, PARTS, modality, part)


def _place(table: Path, number: int) -> str:
    return f"row {number} of {table}"


def _bad(table: Path, number: int, what: str, remedy: str) -> InputError:
    return InputError(f"it {what}", source=_place(table, number), remedy=f"{remedy}; rows count from 0")
