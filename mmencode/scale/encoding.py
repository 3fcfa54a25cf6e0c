"""A unit is encoded: its rows read, its vectors made, both they and its failures written."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..embeddings.embeddings import Embeddings
from ..errors import InputError
from ..spaces.space import Space
from .output import Failure, Output
from .sources import read_unit, require_unchanged
from .units import Job, Unit

_CHUNK = 1024  # items whose vectors are brought together at a time


@dataclass(frozen=True, slots=True)
class UnitReport:
    """The numbers of a unit's vectors and of its failures, or why it failed as a whole."""

    name: str
    unit: str
    vectors: int = 0
    failures: int = 0
    error: str = ""


def encode_unit(space: Space, unit: Unit, job: Job, output: Output) -> UnitReport:
    """Encode a unit and write its part, which is there whole afterwards or not at all.

    An item that fails is written as a failure. A unit that can't be read, or was changed meanwhile, fails as
    a whole, is written as such, and is tried again by the next run. Errors of the encoder itself, of the
    space and of the output are raised.
    """
    name = unit.name(job)
    rows = _Rows(unit, job, space)
    try:
        vectors = rows.encode()
        require_unchanged(unit)
    except InputError as error:
        return fail_unit(unit, job, output, error)
    output.write(name, vectors, rows.failures, space.card)
    return UnitReport(name, str(unit), len(vectors), len(rows.failures))


def fail_unit(unit: Unit, job: Job, output: Output, error: InputError) -> UnitReport:
    """Write that a unit failed as a whole; the next run tries it again."""
    name = unit.name(job)
    if name not in output.names():  # the failures of a part that was tried again stay what they are
        output.write_failures(name, [_failure(None, None, error)])
    return UnitReport(name, str(unit), error=f"{error.source}: {error.fact}")


class _Rows:
    """The rows of a unit on their way: those with an item are encoded, the others are failures already."""

    def __init__(self, unit: Unit, job: Job, space: Space) -> None:
        self.failures: list[Failure] = []
        self._unit, self._job, self._space = unit, job, space
        self._encoded: list[tuple[int, str]] = []  # place and key of each item that was given to the encoder

    def encode(self) -> Embeddings:
        """Encode the items; positions are the places of rows in the unit."""
        job = self._job
        parts = [self._space.encode(job.modality, [], role=role_of(job))]  # which has the space's identity
        with closing(self._items()) as items:
            found = self._space.stream(job.modality, items, role=role_of(job), chunk=_CHUNK, on_error="skip")
            for part in found:
                parts.append(part)
                for error in part.errors:
                    place, key = self._encoded[error.index or 0]
                    self.failures.append(_failure(key, place, error))
        whole = Embeddings.concatenate(parts)
        places = [self._encoded[position] for position in whole.positions.tolist()]
        self.failures.sort(key=lambda failure: failure.position or 0)
        vectors = Embeddings(
            whole.vectors,
            space=whole.space,
            modality=whole.modality,
            positions=np.array([place for place, _ in places], np.int64),
            keys=[key for _, key in places],
            towers=whole.towers,
            widths=whole.widths,
        )
        return vectors if job.dim is None else vectors.truncate(job.dim)

    def _items(self) -> Generator[Any, None, None]:
        for row in read_unit(self._unit, self._job, self._space.limits):
            if row.error is not None:
                self.failures.append(_failure(row.key, row.place, row.error))
                continue
            self._encoded.append((row.place, row.key))
            yield row.item


def role_of(job: Job) -> Any:
    """Give the role of a job as spaces take it."""
    return job.role


def _failure(key: str | None, position: int | None, error: InputError) -> Failure:
    return Failure(key, position, error.source, error.fault, error.fact, error.remedy)
