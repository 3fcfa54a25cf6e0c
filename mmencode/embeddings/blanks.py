"""Blank rows stand for items that have no vector, where rows are to be aligned with their batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..errors import InputError
from .array_types import Flags, Positions, Vectors

Fill = Literal["nan", "zero"]
_NUMBERS: dict[str, float] = {"nan": np.nan, "zero": 0.0}


def find_blank(vectors: Vectors) -> Flags:
    """Mark the rows `[n, dim]` that are blank: all their numbers are zero, or all are NaN."""
    firsts = vectors[:, :1]
    suspect = np.flatnonzero((np.isnan(firsts) | (firsts == 0)).all(axis=1))  # few, mostly none
    rows = vectors[suspect]
    found = np.zeros(len(vectors), bool)
    found[suspect] = np.isnan(rows).all(axis=1) | ~rows.any(axis=1)
    return found


def number_of_fill(fill: str) -> float:
    """The number that blank rows consist of; ValueError for another fill than "nan" and "zero"."""
    if fill not in _NUMBERS:
        raise ValueError(f'fill is {fill!r:.100}: make it "nan" or "zero"')
    return _NUMBERS[fill]


def align_rows(positions: Positions, errors: Sequence[InputError]) -> tuple[Positions, Positions]:
    """Lay rows and failed items out in the order of their batch: the position of each, and the place of rows.

    ValueError where some items between the first and the last have neither a row nor an error, or two.
    """
    failed = np.array([error.index for error in errors if error.index is not None], np.int64)
    failed = failed[~np.isin(failed, positions)]  # blank rows have an error as well
    every = np.unique(np.concatenate([positions, failed]))
    if len(every) != len(positions) + len(failed):
        raise ValueError(
            f"{len(positions)} rows and {len(failed)} failed items stand at {len(every)} positions, and "
            "can't be aligned with one batch: align each part before they are put together"
        )
    if len(every) and int(every[-1] - every[0]) + 1 != len(every):
        lacking = np.setdiff1d(np.arange(every[0], every[-1]), every)
        raise ValueError(
            f"item {lacking[0]} has neither a row nor an error here ({len(lacking)} such items), so rows "
            "can't be aligned with their batch: align them before some are picked"
        )
    return every, np.searchsorted(every, positions)


def require_none_blank(blank: Flags, doing: str) -> None:
    """Raise ValueError, naming the first, where some rows or items are blank; `doing` says what was tried."""
    places = np.flatnonzero(blank)
    if len(places):
        raise ValueError(
            f"row {places[0]} is blank, since its item failed ({len(places)} such rows of {len(blank)}), and "
            f"can't be {doing}: leave these rows out by embeddings[~embeddings.blank]"
        )
