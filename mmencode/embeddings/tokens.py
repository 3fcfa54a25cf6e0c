"""Contextual outputs have a vector for each token, patch or frame of an item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..arguments.brief import Brief
from ..errors import InputError
from .array_types import Positions, Vectors


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Tokens(Brief, Sequence[Vectors]):
    """One float32 array `[t, width]` for each item, t the item's own: no padding.

    Tokens are taken before pooling and projection, so they belong to their `encoder` and to no shared space:
    they aren't normalised, and are comparable only with tokens of the same encoder. `grid` is the
    (rows, columns) that an image's tokens fill row by row, None where there is no grid. `positions` and
    `errors` are as in Embeddings.
    """

    values: Sequence[Vectors]
    encoder: str
    modality: str
    grid: tuple[int, int] | None
    positions: Positions
    errors: tuple[InputError, ...]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> Vectors:  # type: ignore[override]
        return self.values[row]

    def __iter__(self) -> Iterator[Vectors]:
        return iter(self.values)
