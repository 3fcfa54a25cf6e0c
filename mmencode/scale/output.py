"""The output of a job: a folder with a part for each unit, whole or not there, and what failed beside it.

vectors/NAME.parquet   key, position, vector of the items of a unit; the card of their space in the footer
failures/NAME.jsonl    a line for each item of that unit that has no vector
job.json, card.json    what all parts have in common
parts.json             the names of the parts that the source of the last run has
vectors.lance          the rows of all parts once more, where that was asked for
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..card import SpaceCard, card_from_dict
from ..embeddings.embeddings import Embeddings
from ..embeddings.surrogates import escape_surrogates
from ..errors import IdentityError, InputError, MmencodeError, StoreError, WeightsError
from ..errors.causes import message_of
from .storage import is_address, storage_of
from .units import Job

VECTORS, FAILURES = "vectors", "failures"
CARD = "card"  # the name of the card in the footer of a part
PLAN = "parts.json"
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

    def write(
        self, name: str, vectors: Embeddings, failures: Sequence[Failure], card: SpaceCard | None = None
    ) -> None:
        """Write the part of a unit: its failures first, since a part whose vectors are there is done.

        The card of the vectors' space is written into the footer.
        """
        self._storage.remove(self._path(VECTORS, name + _PART))  # which other failures belong to
        if failures:
            self.write_failures(name, failures)
        else:
            self._storage.remove(self._path(FAILURES, name + _LINES))  # of a run that failed
        self._storage.write(self._path(VECTORS, name + _PART), _to_parquet(vectors, card))

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

    def load_part(self, name: str) -> Embeddings:
        """Load a part as `Embeddings.load` does; StoreError for a file that is none."""
        path = self._path(VECTORS, name + _PART)
        with _reading(path):
            if not is_address(path):
                return Embeddings.load(path)
            with tempfile.TemporaryDirectory(prefix="mmencode-part-") as folder:
                held = Path(folder, name + _PART)
                held.write_bytes(self._storage.read(path) or b"")
                return Embeddings.load(held)

    def read_part(self, name: str) -> Any:
        """Read a part as a table of Arrow; None where it isn't there, StoreError for a file that is none."""
        import pyarrow.parquet as parquet

        path = self._path(VECTORS, name + _PART)
        content = self._storage.read(path)
        with _reading(path):
            return None if content is None else parquet.read_table(io.BytesIO(content))

    def require_part(self, name: str, space: str, dim: int) -> None:
        """Raise OutputConflictError for a part whose vectors are of another space, or of another width."""
        import pyarrow.parquet as parquet

        path = self._path(VECTORS, name + _PART)
        with _reading(path), self._storage.open(path) as file:
            schema = parquet.read_schema(file)
            found = (schema.metadata or {}).get(b"space", b"").decode(errors="replace")
            width = schema.field("vector").type.list_size
        if (found, width) != (space, dim):
            raise OutputConflictError(
                f"{path} has vectors of {found or 'no space'} with {width} numbers, and the others are of "
                f"{space} with {dim}",
                remedy="remove that file and run `mmencode embed` again, which makes it anew",
            )

    def read_keys(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, list[str]]]:
        """Read the keys of each part, or of those with these names, with its name."""
        import pyarrow.parquet as parquet

        for name in sorted(self.names()) if names is None else names:
            path = self._path(VECTORS, name + _PART)
            with _reading(path), self._storage.open(path) as file:
                keys = parquet.read_table(file, columns=["key"]).column("key").to_pylist()
            yield name, keys

    def failed_names(self) -> set[str]:
        """List the names of the parts that have failures, also of those without vectors."""
        names = self._storage.names(self._path(FAILURES))
        return {name.removesuffix(_LINES) for name in names if name.endswith(_LINES)}

    def plan(self, names: Iterable[str]) -> None:
        """Write the names of the parts that are there once a run is done."""
        self._storage.write(self._path(PLAN), json.dumps({"parts": sorted(names)}).encode())

    def read_plan(self) -> set[str] | None:
        """Read the names of the parts that the last run was for; None where it wrote none."""
        content = self._storage.read(self._path(PLAN))
        try:
            return None if content is None else set(json.loads(content)["parts"])
        except (ValueError, KeyError, TypeError) as cause:
            raise StoreError(
                f"it doesn't say which parts there are: {message_of(cause)}",
                culprit=self._path(PLAN),
                remedy="run `mmencode embed` again, which writes it anew",
            ) from cause

    def read_job(self) -> Job | None:
        """Read the job that the output belongs to; None where it is nobody's yet."""
        path = self._path("job.json")
        return None if self._storage.read(path) is None else self._read_job(path)

    def read_card(self) -> SpaceCard:
        """Read the card of the space of all vectors; StoreError where it is missing or damaged."""
        path = self._path("card.json")
        content = self._storage.read(path)
        try:
            return card_from_dict(json.loads(content or b""))
        except (ValueError, TypeError, KeyError, IdentityError, WeightsError) as cause:
            raise StoreError(
                f"the card of the output's space can't be read: {message_of(cause)}",
                culprit=path,
                remedy="remove that file and run `mmencode embed` again, which writes it anew",
            ) from cause

    def remove(self, name: str) -> None:
        """Remove a part: its vectors first, so that it isn't taken for done without its failures."""
        self._storage.remove(self._path(VECTORS, name + _PART))
        self._storage.remove(self._path(FAILURES, name + _LINES))

    def _path(self, *parts: str) -> str:
        return self._storage.join(self.place, *parts)


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Raise the errors of a file that is no part as StoreError."""
    try:
        yield
    except MmencodeError as error:
        if not isinstance(error, InputError):
            raise
        raise _unsound(path, error.fact) from error
    except (OSError, ValueError, AttributeError, KeyError) as cause:  # which pyarrow's errors are
        raise _unsound(path, message_of(cause)) from cause


def _unsound(path: str, why: str) -> StoreError:
    return StoreError(
        f"a part of the output can't be read: {why}",
        culprit=path,
        remedy="remove that file and run `mmencode embed` again, which makes it anew",
    )


def _to_parquet(vectors: Embeddings, card: SpaceCard | None) -> bytes:
    """Write vectors as `Embeddings.save` does, and the card beside their identity."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    table = arrow.table(vectors)
    if card is not None:
        facts = {**(table.schema.metadata or {}), CARD.encode(): json.dumps(card.to_dict()).encode()}
        table = table.replace_schema_metadata(facts)
    content = io.BytesIO()
    parquet.write_table(table, content, use_dictionary=False)
    return content.getvalue()


def _escape(value: Any) -> Any:
    return escape_surrogates(value) if isinstance(value, str) else value
