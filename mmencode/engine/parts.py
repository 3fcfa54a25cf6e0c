"""What the engine gives, a part at a time, as the parts that a caller asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..embeddings.array_types import Positions, Vectors
from ..errors import InputError
from .job import Part


def chunks(parts: Iterator[Part[Vectors]]) -> Iterator[list[Part[Vectors]]]:
    """The parts that are delivered together, as they themselves say."""
    held: list[Part[Vectors]] = []
    failure: Exception | None = None
    try:
        for part in parts:
            held.append(part)
            if part.ends:
                yield held
                held = []
    except Exception as cause:
        failure = cause
    if held:
        yield held
    if failure is not None:
        raise failure


def counted(parts: Iterable[Part[Vectors]]) -> int:
    """How many items they are of."""
    return sum(part.count for part in parts)


def merged(parts: Iterable[Part[Vectors]], count: int, width: int) -> Part[Vectors]:
    """Parts that come of `count` items as one, whose rows `[k, width]` are in one array allocated once."""
    rows, filled = np.empty((count, width), np.float32), 0
    positions: list[Positions] = []
    errors: list[InputError] = []
    for part in parts:
        rows[filled : filled + len(part.rows)] = part.rows
        filled += len(part.rows)
        positions.append(part.positions)
        errors += part.errors
    return Part(count, rows[:filled], joined(positions), errors)


def joined(positions: Iterable[Positions]) -> Positions:
    """One array, empty of none."""
    return np.concatenate([np.empty(0, np.int64), *positions])
