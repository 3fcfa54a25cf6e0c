"""Reading of items with their captions, from a table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..inputs.tables import item_in_folder
from .origin import LeftOut, Origin, is_empty_cell, make_key, read_table, read_word, require_column

SLOT = "{label}"


@dataclass(frozen=True, slots=True)
class Paired:
    """Pairs of an item and its caption, and where they come from."""

    pairs: tuple[tuple[Any, str], ...]
    origin: Origin


def read_paired_table(
    path: str | os.PathLike[str],
    modality: str = "image",
    *,
    items: str | None = None,
    captions: Sequence[str] = (),
    template: str = SLOT,
) -> Paired:
    """Read the rows of a table (.csv, .jsonl, .parquet) with a column of items and one or more of captions.

    By default these are the first column and the first of the others; files are relative to the table. A
    cell may hold a list of captions. Each caption takes the place of "{label}" in the template. Empty
    captions, and rows without an item, are left out.

    Raises InputError for a table without rows or those columns, ValueError for a template without "{label}".
    """
    if SLOT not in template:
        raise ValueError(f'template {template!r} has no "{SLOT}" in it')
    rows, columns = read_table(path)
    items = require_column(items or columns[0], columns, path)
    others = [name for name in columns if name != items]
    names = [require_column(name, columns, path) for name in captions or others[:1] or ["caption"]]
    pairs: list[tuple[Any, str]] = []
    keys: list[str] = []
    left_out = []
    for number, row in enumerate(rows):
        for name, caption in _captions(row, names):
            empty = items if is_empty_cell(row.get(items)) else name if is_empty_cell(caption) else ""
            if empty:
                left_out.append(LeftOut(f"row {number}", f"no value in {empty!r}"))
                continue
            prompted = template.replace(SLOT, read_word(caption, path, number))
            pairs.append((item_in_folder(row[items], modality, Path(path).parent), prompted))
            keys.append(make_key(row[items], modality, path, number))
    source = f"{path}, columns {', '.join(map(repr, [items, *names]))}"
    source += f" as {template!r}" if template != SLOT else ""
    return Paired(tuple(pairs), Origin(source, tuple(keys), tuple(left_out)))


def _captions(row: dict[str, Any], names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Walk the captions of a row, each with its column; a cell may hold a list of them."""
    for name in names:
        value = row.get(name)
        yield from ((name, caption) for caption in (value or [None] if isinstance(value, list) else [value]))
