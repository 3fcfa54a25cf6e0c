"""The two tables of an index, as readers and the writer see them: rows, and items that failed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import Fault, StoreError
from .columns import FORMAT, OWN, Owner, failure_schema, metadata_of, owner_of, row_schema
from .keys import KeyHashes
from .lance import as_store_errors, connect, require_threads
from .latest import LatestTable, table_at
from .places import Address, Place
from .sql import is_one_of
from .stamps import ContentStamp

ROWS, FAILURES = "rows", "failures"
KEYS_IN_CONDITION = 1024
SCANNED = 64 * KEYS_IN_CONDITION  # rows of a scan that are in memory at once
_OTHER = "make the index again from its files, or use the mmencode that made it; other tables aren't for it"


@dataclass(frozen=True, slots=True)
class Stored:
    """A row or a failure that an earlier addition stored under a key.

    `reason` is why the item failed, None for a row; `fault` whose fault that is.
    """

    modality: str
    stamp: ContentStamp
    reason: str | None = None
    fault: Fault = "content"
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Tables:
    """The tables of rows and of failures in an index's folder, as of their latest commits.

    Raises StoreError for tables that aren't those of one index whose space has the fingerprint `space`.
    `guard` is held by threads that read or change `key_hashes`.
    """

    shared: bool
    guard: threading.RLock
    rows: LatestTable
    failures: LatestTable
    key_hashes: KeyHashes

    def __init__(self, folder: Place, space: str) -> None:
        self.folder = folder
        self.shared = isinstance(folder, Address)  # with writers of which no lock keeps the others apart
        self.guard = threading.RLock()
        self.rows = table_at(folder, ROWS)
        self.failures = table_at(folder, FAILURES)
        self.key_hashes = KeyHashes(None)
        with as_store_errors(folder, "opened"):
            for latest in (self.rows, self.failures):
                latest.refresh()
            owners = {owner_of(latest.schema) for latest in (self.rows, self.failures)}
            names = self.rows.schema.names[: len(OWN)]
        owner = owners.pop()
        if owners or owner is None or names != list(OWN):
            raise StoreError(
                f"the tables aren't those of one index of format {FORMAT}",
                culprit=str(folder),
                remedy=_OTHER,
            )
        self.owner: Owner = owner
        if self.owner.space != space:
            raise StoreError(
                f"the index's tables hold vectors of the space with the fingerprint {self.owner.space}, "
                f"and its card is that of {space}",
                culprit=str(folder),
                remedy="put back the card that the index was made with",
            )

    def refresh(self) -> None:
        """See the latest commits; StoreError where another index took the place of the one that was opened.

        StoreError as well in a forked process, before it waits for a lock that a thread of the parent held.
        """
        require_threads()
        for latest in (self.rows, self.failures):
            latest.refresh()
            if owner_of(latest.schema) != self.owner:
                raise StoreError(
                    "the index was replaced by another one since it was opened",
                    culprit=str(self.folder),
                    remedy="open it again: Index.open(path)",
                )

    @contextmanager
    def reading(self, doing: str = "read") -> Iterator[None]:
        """See the latest commits, whoever made them, and raise LanceDB's errors as StoreError."""
        with as_store_errors(self.folder, doing):
            self.refresh()
            yield

    def look_up(self, keys: Sequence[str]) -> tuple[dict[str, Stored], dict[str, Stored]]:
        """Look up the rows, and the failures, that have these escaped keys."""
        with self.reading():
            with self.guard:
                self.remember_keys()
                there = self.key_hashes.may_have(keys)
            rows = _look_up(self.rows.table, [keys[place] for place in there.nonzero()[0].tolist()])
            failures = _look_up(self.failures.table, keys) if self.failures.count else {}
        return rows, failures

    def remember_keys(self) -> None:
        """Read the keys of all rows, unless those in memory are of the latest commit; under the guard."""
        mark = self.rows.mark
        if mark is None or self.key_hashes.mark != mark:
            self.key_hashes = KeyHashes(mark)
            for batch in self.rows.table.search().select(["key"]).to_batches(SCANNED):
                self.key_hashes.add(batch.column("key").to_pylist())


def make_tables(folder: Path, dim: int, owner: Owner) -> None:
    """Make empty tables in a folder, for vectors of this width."""
    with as_store_errors(folder, "written"):
        database = connect(folder)
        database.create_table(ROWS, schema=row_schema(dim, owner))
        database.create_table(FAILURES, schema=failure_schema(owner))


def _look_up(table: Any, keys: Sequence[str]) -> dict[str, Stored]:
    found: dict[str, Stored] = {}
    names = [name for name in table.schema.names if name != "vector"] if keys else []
    for start in range(0, len(keys), KEYS_IN_CONDITION):
        condition = is_one_of("key", keys[start : start + KEYS_IN_CONDITION])
        part = table.search().where(condition).select(names).to_arrow()
        for row, metadata in zip(part.to_pylist(), metadata_of(part), strict=True):
            found[row["key"]] = Stored(
                row["modality"],
                ContentStamp(row["_hash"], row["_size"], row["_time"]),
                reason=row.get("reason"),
                fault=row.get("fault", "content"),
                metadata=metadata,
            )
    return found
