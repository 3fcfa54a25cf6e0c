"""The tables of an index on LanceDB: opened, written and compacted, one atomic commit at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Fault, MissingPackageError, MmencodeError, StoreError
from .ann import build, covered, method
from .columns import FORMAT, OWN, failure_schema, metadata_of, row_schema
from .escaping import both, escape, literal, one_of, unescape
from .latest import Latest
from .locking import WriteLock

ROWS, FAILURES, LOCK = "rows", "failures", "lock"
IN_USE = timedelta(minutes=5)  # for so long a search in another process may read a version that was replaced
BLOCK = 1024  # keys in one condition
Hashes = np.ndarray[Any, np.dtype[np.int64]]
DAMAGED = "restore the folder from a copy, or make the index again from its files"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an item from an earlier addition.

    `reason` is why it failed, None where it didn't, and `fault` whose fault that is.
    """

    modality: str
    hash: str | None
    size: int | None
    time: int | None
    reason: str | None = None
    fault: Fault = "content"
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Store:
    """The two tables of an index's folder.

    Readers see the latest commit; whoever writes holds `lock`. What LanceDB raises becomes StoreError.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = WriteLock(folder / LOCK)
        self.guard = threading.RLock()  # of what this object remembers, between threads
        with storing(folder, "opened"):
            database = _connect(folder)
            self.rows = database.open_table(ROWS)
            self.failures = database.open_table(FAILURES)
            self.latest = Latest(self.rows, folder / f"{ROWS}.lance")
            self.latest_failures = Latest(self.failures, folder / f"{FAILURES}.lance")
            for latest in (self.latest, self.latest_failures):
                latest.refresh()
            schemas = (self.latest.schema, self.latest_failures.schema)
            found = [dict(schema.metadata or {}) for schema in schemas]
            names = schemas[0].names[: len(OWN)]
        if any(facts != _bytes(FORMAT) for facts in found) or names != list(OWN):
            raise StoreError(
                f"its tables aren't those of an index of format {FORMAT}",
                culprit=str(folder),
                remedy="an index of a newer format needs a newer mmencode; other tables aren't for it",
            )
        self._keys = _Keys(-1)
        self._modalities: tuple[int, tuple[str, ...]] | None = None

    @staticmethod
    def make(folder: Path, dim: int) -> None:
        """Make empty tables in a folder."""
        with storing(folder, "written"):
            database = _connect(folder)
            database.create_table(ROWS, schema=row_schema(dim))
            database.create_table(FAILURES, schema=failure_schema())

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the right to write; BusyError when it can't be had."""
        with self.lock.held():
            with storing(self.folder, "read"):
                self.latest.refresh()
                self.latest_failures.refresh()
            yield

    @contextmanager
    def reading(self, doing: str = "read") -> Iterator[None]:
        """See the rows of the latest commit, whoever made it."""
        with storing(self.folder, doing):
            self.latest.refresh()
            yield

    def put(self, table: Any, keys: Sequence[str]) -> None:
        """Write rows in one commit, in place of those with the same keys; to be called while `writing`."""
        with self.guard, storing(self.folder, "written"):
            self._remember()
            with self._keys.joined_by(_hashes(keys)) as some_are_there:
                if some_are_there:
                    _replace(self.rows, table)
                    self.latest.refresh()
                else:
                    self.latest.appended(self.rows.add(table).version, len(keys))
            self._keys.version = self.latest.version

    def put_failures(self, table: Any) -> None:
        """The same for failures."""
        with storing(self.folder, "written"):
            _replace(self.failures, table)
            self.latest_failures.refresh()

    def touch(self, table: Any) -> None:
        """Write anew where rows come from, which leaves their vectors; to be called while `writing`."""
        with self._changing():
            self.rows.merge_insert("key").when_matched_update_all().execute(table)

    def known(self, keys: Sequence[str]) -> tuple[dict[str, Known], dict[str, Known]]:
        """What is known of these escaped keys, from rows and from failures."""
        with self.reading():
            self.latest_failures.refresh()
            rows = _known(self.rows, self._maybe(keys))
            failures = _known(self.failures, keys) if self.latest_failures.count else {}
        return rows, failures

    def add_columns(self, fields: list[Any]) -> None:
        """Add columns of nulls; to be called while `writing`."""
        if fields:
            with self._changing():
                self.rows.add_columns(fields)

    def delete(self, table: Any, keys: Sequence[str]) -> int:
        """Delete the rows of a table with these escaped keys; to be called while `writing`."""
        count = 0
        if table is self.failures and not self.latest_failures.count:
            return 0
        for start in range(0, len(keys), BLOCK):
            condition = one_of("key", keys[start : start + BLOCK])
            count += self.delete_where(table, condition)
        return count

    def delete_where(self, table: Any, condition: str) -> int:
        """The same for what meets the condition."""
        with self._changing():
            if not table.count_rows(condition):  # for a commit of nothing is one, too
                return 0
            return int(table.delete(condition).num_deleted_rows)

    def compact(self) -> None:
        """Join small files, bring the approximate index up to date, drop versions that nobody reads."""
        with self.writing(), self._changing():
            build(self.rows)
            for table in (self.rows, self.failures):
                table.optimize(cleanup_older_than=IN_USE, delete_unverified=True)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Write what adds no keys: those that are remembered, of the version before, hold for the next."""
        with self.guard, storing(self.folder, "written"):
            current = self._keys.version == self.latest.version
            yield
            self.latest.refresh()
            self.latest_failures.refresh()
            if current:
                self._keys.version = self.latest.version

    def may_have(self, count: int) -> bool:
        """Whether there may be so many rows; asked after writing, it costs nothing where there aren't."""
        return len(self._keys) >= count and self.count() >= count

    def _maybe(self, keys: Sequence[str]) -> list[str]:
        """Those of the keys that may be there."""
        with self.guard:
            self._remember()
            found = np.flatnonzero(self._keys.have(_hashes(keys)))
        return [keys[place] for place in found.tolist()]

    def _remember(self) -> None:
        """Read the keys of the rows again where another has written since they were read."""
        version = self.latest.version
        if self._keys.version != version:
            self._keys = _Keys(version)
            for batch in self.rows.search().select(["key"]).to_batches(BLOCK * 64):
                self._keys.add(_hashes(batch.column("key").to_pylist()))

    def keys(self, table: Any, modality: str) -> Iterator[str]:
        """The escaped keys of a modality's rows that come from somewhere, not those of vectors given."""
        condition = f"modality = {literal(escape(modality))} AND (_hash IS NOT NULL OR _size IS NOT NULL"
        condition += " OR reason IS NOT NULL)" if table is self.failures else ")"
        with self.reading():
            for batch in table.search().where(condition).select(["key"]).to_batches(BLOCK * 64):
                yield from batch.column("key").to_pylist()

    def modalities(self) -> tuple[str, ...]:
        """Those of the rows, sorted."""
        with self.reading():
            version = self.latest.version
            if self._modalities is None or self._modalities[0] != version:
                found: set[str] = set()
                for batch in self.rows.search().select(["modality"]).to_batches(BLOCK * 64):
                    found.update(batch.column("modality").unique().to_pylist())
                self._modalities = (version, tuple(sorted(map(unescape, found))))
        return self._modalities[1]

    def bytes(self) -> int:
        """The size of all files in the folder."""
        return sum(
            os.lstat(os.path.join(root, name)).st_size
            for root, _, names in os.walk(self.folder)
            for name in names
        )

    def method(self) -> str:
        """The kind of the approximate index, "" when there is none."""
        with self.reading():
            return method(self.rows)

    def covered(self) -> int:
        """How many rows the approximate index has."""
        with self.reading():
            return covered(self.rows)

    def count(self, modality: str | None = None, where: str | None = None) -> int:
        """How many rows there are of a modality, or in all."""
        with self.reading():
            own = None if modality is None else f"modality = {literal(escape(modality))}"
            return int(self.rows.count_rows(both(where, own)))

    def require_condition(self, where: str | None) -> None:
        """ValueError for a condition that LanceDB doesn't understand."""
        if where is None:
            return
        try:
            self.latest.refresh()
            self.rows.search().where(where).select(["key"]).limit(1).to_arrow()
        except Exception as cause:
            names = ", ".join(name for name in self.latest.schema.names if not name.startswith("_"))
            raise ValueError(
                f"where is {where!r:.200}, SQL over {names}, and isn't understood: {_first_line(cause)}"
            ) from cause


class _Keys:
    """The hashes of all keys of one version of the table, so that new ones needn't be looked up in it."""

    def __init__(self, version: int) -> None:
        self.version = version
        self._hashes = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._hashes)

    def have(self, hashes: Hashes) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return self._found(hashes, np.searchsorted(self._hashes, hashes))

    def add(self, hashes: Hashes) -> None:
        with self.joined_by(hashes):
            pass

    @contextmanager
    def joined_by(self, hashes: Hashes) -> Iterator[bool]:
        """Yield whether some of them are there; have those that weren't once the block is done."""
        new = np.sort(hashes)  # which are found quicker in order
        places = np.searchsorted(self._hashes, new)
        there = self._found(new, places)
        yield bool(there.any())
        self._hashes = np.insert(self._hashes, places[~there], new[~there])

    def _found(self, hashes: Hashes, places: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
        if not len(self._hashes):
            return np.zeros(len(hashes), bool)
        found: np.ndarray[Any, np.dtype[np.bool_]]
        found = self._hashes[np.minimum(places, len(self._hashes) - 1)] == hashes
        return found


def _hashes(keys: Sequence[str]) -> Hashes:
    return np.fromiter(map(hash, keys), np.int64, len(keys))


@contextmanager
def storing(folder: Path, doing: str) -> Iterator[None]:
    """Make StoreError of what LanceDB raises; it has the folder and LanceDB's own words."""
    try:
        yield
    except (MmencodeError, GeneratorExit):
        raise
    except Exception as cause:  # LanceDB has no classes of its own: it raises ValueError, OSError and others
        words = _first_line(cause)
        full = "No space left" in words or "File too large" in words or "Disk quota" in words
        raise StoreError(
            f"the index can't be {doing}: {'the disk is full: ' if full else ''}{words}",
            culprit=str(folder),
            remedy="make room and do it again; what was added before is there" if full else DAMAGED,
        ) from cause


def _first_line(cause: Exception) -> str:
    return str(cause).partition("\n")[0][:500] or type(cause).__name__


def _connect(folder: Path) -> Any:
    # While an approximate index grows, LanceDB warns of steps of its own by the hundred.
    os.environ.setdefault("LANCEDB_LOG", "error")
    return package("lancedb").connect(os.path.abspath(folder))


def package(name: str) -> Any:
    """Import what an index needs; MissingPackageError without it."""
    try:
        return import_module(name)
    except ImportError as cause:
        raise MissingPackageError(
            f"an index needs {name.partition('.')[0]}: {cause}", remedy="pip install 'mmencode[index]'"
        ) from cause


def _replace(table: Any, rows: Any) -> None:
    table.merge_insert("key").when_matched_update_all().when_not_matched_insert_all().execute(rows)


def _known(table: Any, keys: Sequence[str]) -> dict[str, Known]:
    names = [name for name in table.schema.names if name != "vector"]
    found = {}
    for start in range(0, len(keys), BLOCK):
        condition = one_of("key", keys[start : start + BLOCK])
        part = table.search().where(condition).select(names).to_arrow()
        for row, said in zip(part.to_pylist(), metadata_of(part), strict=True):
            found[row["key"]] = Known(
                row["modality"],
                row["_hash"],
                row["_size"],
                row["_time"],
                reason=row.get("reason"),
                fault=row.get("fault") or "content",
                metadata=said,
            )
    return found


def _bytes(facts: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in facts.items()}
