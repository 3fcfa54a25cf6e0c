"""Checks and cuts of the positions and keys that the rows of a result have."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Protocol, TypedDict

import numpy as np

from ..card import require_same_space
from ..errors import InputError, SpaceMismatchError, WidthError
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


def join_widths(parts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The widths to which the rows of all results may be cut."""
    return tuple(sorted(set.intersection(*map(set, parts)))) if parts else ()


def require_width(dim: int, widths: Sequence[int], modality: str, space: str) -> None:
    """Warn of a width that a model doesn't declare; WidthError where it declares none."""
    if not widths:
        raise WidthError(
            f"vectors of {modality} in {space} weren't trained to be cut to {dim} numbers: the model "
            "declares no widths",
            remedy=f"measure what is lost, and cut nevertheless: truncate({dim}, force=True)",
        )
    if dim not in widths:
        warnings.warn(
            f"vectors of {modality} in {space} were trained for widths of {', '.join(map(str, widths))}, and "
            f"much may be lost at {dim}; truncate({dim}, force=True) says nothing",
            UserWarning,
            stacklevel=3,
        )


class Result(Protocol):
    """A result of a space, as far as it says where its rows are from."""

    @property
    def space(self) -> str:
        """The id of the space."""

    @property
    def modality(self) -> str:
        """The modality of the rows."""

    @property
    def positions(self) -> Positions:
        """The place of each row in its batch."""

    @property
    def errors(self) -> tuple[InputError, ...]:
        """The items that were skipped."""

    @property
    def keys(self) -> tuple[str, ...] | None:
        """The key of each row, if there are any."""


class Origins(TypedDict):
    """The arguments of a new result that say where its rows are from."""

    space: str
    modality: str
    positions: Positions
    errors: list[InputError]
    keys: tuple[str, ...] | None


def join_origins(parts: Sequence[Result]) -> Origins:
    """Join what results of one space say of their rows; "mixed" unless all have the same modality.

    Raises SpaceMismatchError for results of two spaces, ValueError without any.
    """
    if not parts:
        raise ValueError("there is nothing to concatenate")
    for part in parts[1:]:
        require_same_space(parts[0].space, part.space, "concatenated")
    modalities = {part.modality for part in parts}
    return Origins(
        space=parts[0].space,
        modality=modalities.pop() if len(modalities) == 1 else "mixed",
        positions=np.concatenate([part.positions for part in parts]),
        errors=[error for part in parts for error in part.errors],
        keys=join_keys([part.keys for part in parts]),
    )
