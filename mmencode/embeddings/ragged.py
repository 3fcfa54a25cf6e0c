"""Items that each have a number of rows of their own: where these lie, and how they are cut and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .array_types import Array, Positions


def ends_of(counts: Any, rows: int) -> Positions:
    """Add up how many rows each item has to where each item ends, `[n]`.

    ValueError, naming the item, unless each has one row at least and they add up to `rows`.
    """
    found = np.asarray(counts)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise ValueError(f"counts are {found.dtype} of shape {found.shape}: give an int for each item")
    empty = np.flatnonzero(found < 1)
    if len(empty):
        raise ValueError(
            f"item {empty[0]} has {found[empty[0]]} vectors ({len(empty)} such items of {len(found)}): "
            "leave out items that have none"
        )
    if found.size and int(found.max()) > rows:
        raise ValueError(f"item {found.argmax()} has {found.max()} vectors, and there are {rows} in all")
    ends = np.cumsum(found, dtype=np.int64)
    if (int(ends[-1]) if len(ends) else 0) != rows:
        raise ValueError(f"the items have {int(found.sum())} vectors by their counts, and there are {rows}")
    return ends


def starts_of(ends: Positions) -> Positions:
    """The row at which each item begins, `[n]`."""
    return np.concatenate([np.zeros(min(1, len(ends)), np.int64), ends[:-1]])


def counts_of(ends: Positions) -> Positions:
    """The number of rows of each item, `[n]`."""
    return np.diff(ends, prepend=0)


def places_of(rows: int | slice | Sequence[int] | Array, count: int) -> Positions:
    """The places of the items that an index picks, as numpy would pick them; IndexError beyond the last."""
    if isinstance(rows, (int, np.integer)) and not -count <= rows < count:
        raise IndexError(f"item {rows} of {count}")
    if isinstance(rows, (list, tuple)) and not rows:
        return np.empty(0, np.int64)
    return np.atleast_1d(np.arange(count)[rows])


def pick_rows(rows: Array, ends: Positions, places: Positions) -> Array:
    """Take the rows of items in this order: a view where they follow one another, else a copy."""
    starts = starts_of(ends)
    if not len(places):
        return rows[:0]
    if (np.diff(places) == 1).all():
        return rows[starts[places[0]] : ends[places[-1]]]
    return np.concatenate([rows[starts[place] : ends[place]] for place in places.tolist()])
