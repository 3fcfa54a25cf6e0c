"""The output of a job: a folder with a part for each unit, whole or not there, and what failed beside it.

vectors/NAME.parquet   key, position, vector of the items of a unit; the identity of their space in the footer
failures/NAME.jsonl    a line for each item of that unit that has no vector
job.json, card.json    what all parts have in common
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..card import SpaceCard
from ..embeddings.embeddings import Embeddings
from ..embeddings.surrogates import escape_surrogates
from ..errors import MmencodeError
from .storage import storage_of
from .units import Job

VECTORS, FAILURES = "vectors", "failures"
_PART, _LINES = ".parquet", ".jsonl"


@dataclass(frozen=True, slots=True)
class Failure:
    """An item without a vector: its key and position in its unit, and why; no key for a whole unit."""

    key: str | None
    position: int | None
    source: str
    fault: str
    message: str
    remedy: str

    def to_line(self) -> str:
        """Write the failure as a line of JSON."""
        facts = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({name: _escape(value) for name, value in facts.items()}) + "\n"

    @staticmethod
    def from_line(line: str) -> Failure:
        """Read a line that `to_line` wrote."""
        return Failure(**json.loads(line))


class OutputConflictError(MmencodeError):
    """An output belongs to another job, whose vectors would be mixed with those of this one."""


class Output:
    """A folder or an address that the parts of one job are written to; several runs may share it."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._storage = storage_of(place)

    def claim(self, job: Job, card: SpaceCard) -> None:
        """Make the output this job's; OutputConflictError where it is another's, with what differs."""
        path = self._path("job.json")
        self._storage.create(path, job.to_text().encode())
        found = self._read_job(path)
        if found != job:
            raise OutputConflictError(
                f"{self.place} has the vectors of another job: {'; '.join(job.differences(found))}",
                remedy="name another output, or encode as before",
            )
        self._storage.create(self._path("card.json"), json.dumps(card.to_dict(), indent=2).encode())

    def _read_job(self, path: str) -> Job:
        content = self._storage.read(path)
        try:
            return Job.from_text((content or b"").decode())
        except (ValueError, TypeError) as cause:
            raise OutputConflictError(
                f"{path} doesn't describe a job", remedy="name another output, or remove that file"
            ) from cause

    def names(self) -> set[str]:
        """List the names of the parts that are there."""
        names = self._storage.names(self._path(VECTORS))
        return {name.removesuffix(_PART) for name in names if name.endswith(_PART)}

    def write(self, name: str, vectors: Embeddings, failures: Sequence[Failure]) -> None:
        """Write the part of a unit: its failures first, since a part whose vectors are there is done."""
        if failures:
            self.write_failures(name, failures)
        else:
            self._storage.remove(self._path(FAILURES, name + _LINES))  # of a run that failed
        self._storage.save(self._path(VECTORS, name + _PART), vectors)

    def write_failures(self, name: str, failures: Sequence[Failure]) -> None:
        """Write what failed of a unit, with no vectors if it failed as a whole."""
        lines = "".join(failure.to_line() for failure in failures)
        self._storage.write(self._path(FAILURES, name + _LINES), lines.encode())

    def read_failures(self, names: set[str] | None = None) -> Iterator[Failure]:
        """Read the failures of all parts, or of those with these names."""
        for found in self._storage.names(self._path(FAILURES)):
            if found.endswith(_LINES) and (names is None or found.removesuffix(_LINES) in names):
                content = self._storage.read(self._path(FAILURES, found)) or b""
                yield from map(Failure.from_line, content.decode().splitlines())

    def read_keys(self) -> Iterator[tuple[str, list[str]]]:
        """Read the keys of each part, with its name."""
        import pyarrow.parquet as parquet

        for name in sorted(self.names()):
            content = self._storage.read(self._path(VECTORS, name + _PART))
            if content is not None:
                table = parquet.read_table(io.BytesIO(content), columns=["key"])
                yield name, table.column("key").to_pylist()

    def remove(self, name: str) -> None:
        """Remove a part: its vectors first, so that it isn't taken for done without its failures."""
        self._storage.remove(self._path(VECTORS, name + _PART))
        self._storage.remove(self._path(FAILURES, name + _LINES))

    def _path(self, *parts: str) -> str:
        return self._storage.join(self.place, *parts)


def _escape(value: Any) -> Any:
    return escape_surrogates(value) if isinstance(value, str) else value
