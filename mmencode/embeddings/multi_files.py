"""Files of items with many rows: arrays and where each item ends, or tables with a row for each vector."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .array_types import Positions
from .files import FORMATS, TABLES, Formats, Record, write
from .ragged import counts_of
from .rows import pick_keys


def write_items(path: str | os.PathLike[str], record: Record, formats: Formats = FORMATS) -> None:
    """Write a record whose array `ends` says where each item ends, as `files.write` does.

    A table has a row for each vector, with the position and the key of its item, and a column that counts
    the items: a list of vectors in each row could unpack to any size, which no header would tell.
    """
    if Path(path).suffix.lower() in TABLES and TABLES.items() <= formats.items():
        ends, positions = record.arrays["ends"], record.arrays["positions"]
        items = np.repeat(np.arange(len(ends)), counts_of(ends))
        arrays = {"vectors": record.arrays["vectors"], "items": items, "positions": positions[items]}
        record = Record(arrays, record.facts, pick_keys(record.keys, items))
    write(path, record, formats)


def items_of(record: Record) -> tuple[Positions, Positions, tuple[str, ...] | None]:
    """Read how many rows each item has, its position and its key, from arrays or from rows of a table."""
    positions = record.positions()
    if "items" not in record.arrays:
        return counts_of(record.array("ends", np.int64)), positions, record.keys
    items = record.array("items", np.int64)
    steps = np.diff(items, prepend=-1)
    if (steps[:1] != 1).any() or not np.isin(steps, (0, 1)).all():
        raise ValueError("its items don't count up from 0")
    begins = np.flatnonzero(steps)
    if not np.array_equal(positions, positions[begins][items]):
        raise ValueError("an item has several positions")
    keys = pick_keys(record.keys, begins)
    if keys is not None and pick_keys(keys, items) != record.keys:
        raise ValueError("an item has several keys")
    return counts_of(np.append(begins[1:], len(items))) if len(items) else begins, positions[begins], keys
