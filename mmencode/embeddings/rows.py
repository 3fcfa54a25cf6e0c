"""Checks and cuts of the positions and keys that the rows of a result have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import SpaceMismatchError
from .array_types import Array, Positions


def require_one_each(count: int, noun: str, positions: Positions, keys: Sequence[str] | None) -> None:
    """Raise ValueError unless `count` rows, vectors or codes, have a position and a key each, or no keys."""
    if positions.shape != (count,):
        raise ValueError(f"{count} {noun} have positions of shape {positions.shape}")
    if keys is not None and len(keys) != count:
        raise ValueError(f"{count} {noun} have {len(keys)} keys: give as many, or none")


def pick_keys(keys: tuple[str, ...] | None, rows: slice | Sequence[int] | Array) -> tuple[str, ...] | None:
    """Take the keys of rows given as numpy takes them: a slice, a mask or places; None has none."""
    if keys is None:
        return None
    if isinstance(rows, slice):
        return keys[rows]
    places = np.asarray(rows)
    places = np.flatnonzero(places) if places.dtype == bool else places
    return tuple(keys[place] for place in places.ravel().tolist())


def join_keys(parts: Sequence[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Put the keys of several results behind each other; None where one of the results has no keys."""
    present = [keys for keys in parts if keys is not None]
    return tuple(key for keys in present for key in keys) if len(present) == len(parts) else None


def join_towers(parts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Join the digests of several results' towers; SpaceMismatchError for two towers of one modality."""
    found: dict[str, str] = {}
    for towers in parts:
        for modality, digest in towers.items():
            if found.setdefault(modality, digest) != digest:
                raise SpaceMismatchError(
                    f"rows of {modality} that two encoders of one space made can't be put together: towers "
                    f"{found[modality]} and {digest}",
                    remedy=f"encode the {modality} of one of them again with the other's space",
                )
    return found
