"""The parts that the engine gives, put together into those that a caller asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ..embeddings.array_types import Positions, Vectors
from ..errors import InputError
from .call import Part
from .deferring import Deferred


class Collector:
    """Writes the rows of parts `[n, width]` in input order into one array, which is allocated once.

    `total` is the number of items, or None where nobody knows it before the end.
    """

    def __init__(self, width: int, total: int | None) -> None:
        self._width, self._total = width, total
        self._rows = np.empty((total or 0, width), np.float32)
        self._held: list[Vectors] = []  # where nobody knew how many there would be
        self._filled = 0
        self._count = 0
        self._positions: list[Positions] = []
        self._errors: list[InputError] = []

    def add(self, part: Part[Vectors]) -> None:
        """Write the rows of the next part behind those of the parts before."""
        if self._total is None:
            self._held.append(part.rows)
        else:
            self._rows[self._filled : self._filled + len(part.rows)] = part.rows
        self._filled += len(part.rows)
        self._count += part.count
        self._positions.append(part.positions)
        self._errors += part.errors

    def whole(self) -> Part[Vectors]:
        """Make one part of all parts that were added."""
        rows = self._rows[: self._filled]
        if self._total is None:
            rows = np.concatenate([self._rows, *self._held])
        return Part(self._count, rows, join_positions(self._positions), self._errors)


def join_deliveries(parts: Iterable[Part[Vectors]]) -> Iterator[Part[Vectors]]:
    """Join the parts that are delivered together, as they themselves say, each time into one."""
    source = Deferred(parts)
    held: list[Part[Vectors]] = []
    for part in source:
        held.append(part)
        if part.ends:
            yield _join(held)
            held = []
    if held:
        yield _join(held)
    source.reraise()


def _join(parts: Sequence[Part[Vectors]]) -> Part[Vectors]:
    collector = Collector(parts[0].rows.shape[1], sum(len(part.rows) for part in parts))
    for part in parts:
        collector.add(part)
    return collector.whole()


def join_positions(positions: Iterable[Positions]) -> Positions:
    """Join the positions of several parts into one array."""
    return np.concatenate([np.empty(0, np.int64), *positions])
