"""The tables of an index: opened, written and compacted, one atomic commit at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from ..embeddings.surrogates import escape_surrogates, unescape_surrogates
from ..errors import Fault, StoreError
from .ann import build, covered, method
from .columns import FORMAT, OWN, Owner, failure_schema, metadata_names, metadata_of, owner_of, row_schema
from .conditions import condition, misread
from .keys import Keys
from .lance import connect, require_threads, spoken, storing
from .latest import Latest, State
from .locking import WriteLock
from .sql import all_of, is_one_of, quote

ROWS, FAILURES, LOCK = "rows", "failures", "lock"
IN_USE = timedelta(minutes=5)  # for so long a search in another process may read a version that was replaced
BLOCK = 1024  # keys in one condition
_OTHER = "make the index again from its files, or use the mmencode that made it; other tables aren't for it"


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
    """The two tables of an index's folder, which belong to one index and to one space.

    Readers see the latest commit; whoever writes holds the lock. What LanceDB raises becomes StoreError, and
    so does another index in the place of the one that was opened.
    """

    def __init__(self, folder: Path, space: str) -> None:
        self.folder = folder
        self.lock = WriteLock(folder / LOCK)
        self.guard = threading.RLock()  # of what this object remembers, between threads
        self.latest = Latest(folder, ROWS)
        self.latest_failures = Latest(folder, FAILURES)
        self._keys = Keys(None)
        self._modalities: tuple[State | None, tuple[str, ...]] = (None, ())
        with storing(folder, "opened"):
            for latest in (self.latest, self.latest_failures):
                latest.refresh()
            owners = {owner_of(latest.schema) for latest in (self.latest, self.latest_failures)}
            names = self.latest.schema.names[: len(OWN)]
        self.owner = owners.pop()
        if owners or self.owner is None or names != list(OWN):
            raise StoreError(
                f"its tables aren't those of one index of format {FORMAT}", culprit=str(folder), remedy=_OTHER
            )
        if self.owner.space != space:
            raise StoreError(
                f"its tables hold vectors of the space with the fingerprint {self.owner.space}, and its "
                f"card is that of {space}",
                culprit=str(folder),
                remedy="put back the card that the index was made with",
            )

    @staticmethod
    def make(folder: Path, dim: int, space: str) -> None:
        """Make empty tables in a folder, for vectors of the space with this fingerprint."""
        owner = Owner.new(space)
        with storing(folder, "written"):
            database = connect(folder)
            database.create_table(ROWS, schema=row_schema(dim, owner))
            database.create_table(FAILURES, schema=failure_schema(owner))

    @property
    def rows(self) -> Any:
        """LanceDB's table of rows."""
        return self.latest.table

    @property
    def failures(self) -> Any:
        """LanceDB's table of failures."""
        return self.latest_failures.table

    def refresh(self) -> None:
        """See the latest commit of both tables; StoreError where they aren't those that were opened.

        StoreError as well in a forked process, before any lock is asked for that a thread of the parent held.
        """
        require_threads()
        for latest in (self.latest, self.latest_failures):
            latest.refresh()
            if owner_of(latest.schema) != self.owner:
                raise StoreError(
                    "the index was replaced by another one since it was opened",
                    culprit=str(self.folder),
                    remedy="open it again: Index.open(path)",
                )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the right to write; BusyError when it can't be had."""
        require_threads()
        with self.lock.held():
            with storing(self.folder, "read"):
                self.refresh()
            yield

    @contextmanager
    def reading(self, doing: str = "read") -> Iterator[None]:
        """See the rows of the latest commit, whoever made it."""
        with storing(self.folder, doing):
            self.refresh()
            yield

    def put(self, table: Any, keys: Sequence[str]) -> int:
        """Write rows in one commit, in place of those with the same keys; how many these were.

        To be called while `writing`, behind `require_modality`.
        """
        with self.guard, storing(self.folder, "written"):
            self._remember()
            before = self.latest.count
            with self._keys.joined_by(keys) as some_may_be_there:
                if some_may_be_there:
                    _replace(self.rows, table)
                    self.latest.refresh()
                else:
                    self.latest.appended(self.rows.add(table).version, len(keys))
            self._keys.state = self.latest.seen
            return before + len(keys) - self.latest.count

    def put_failures(self, table: Any) -> None:
        """Write failures in one commit, in place of those with the same keys."""
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
            condition = is_one_of("key", keys[start : start + BLOCK])
            count += self.delete_where(table, condition)
        return count

    def delete_where(self, table: Any, condition: str) -> int:
        """Delete what meets the condition, which is in brackets; how many rows these were."""
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
            current = self._keys.state == self.latest.seen
            yield
            self.refresh()
            if current:
                self._keys.state = self.latest.seen

    def may_have(self, count: int) -> bool:
        """Whether there may be so many rows; asked after writing, it costs nothing where there aren't."""
        return len(self._keys) >= count and self.count() >= count

    def _maybe(self, keys: Sequence[str]) -> list[str]:
        """Those of the keys that may be there."""
        with self.guard:
            self._remember()
            there = self._keys.may_have(keys)
        return [keys[place] for place in there.nonzero()[0].tolist()]

    def _remember(self) -> None:
        """Read the keys of the rows again where another has written since they were read."""
        state = self.latest.seen
        if state is None or self._keys.state != state:
            self._keys = Keys(state)
            for batch in self.rows.search().select(["key"]).to_batches(BLOCK * 64):
                self._keys.add(batch.column("key").to_pylist())

    def require_modality(self, keys: Sequence[str], modality: str) -> None:
        """ValueError where one of these escaped keys is that of a row of another modality."""
        for key, row in self.known(keys)[0].items():
            if row.modality != modality:
                raise another_modality(
                    unescape_surrogates(key), unescape_surrogates(row.modality), unescape_surrogates(modality)
                )

    def keys(self, table: Any, modality: str) -> Iterator[str]:
        """The escaped keys of a modality's rows that come from somewhere, not those of vectors given."""
        condition = (
            f"modality = {quote(escape_surrogates(modality))} AND (_hash IS NOT NULL OR _size IS NOT NULL"
        )
        condition += " OR reason IS NOT NULL)" if table is self.failures else ")"
        with self.reading():
            for batch in table.search().where(condition).select(["key"]).to_batches(BLOCK * 64):
                yield from batch.column("key").to_pylist()

    def modalities(self) -> tuple[str, ...]:
        """The modalities of the rows, sorted."""
        with self.reading():
            state = self.latest.seen
            if state is None or self._modalities[0] != state:
                found: set[str] = set()
                for batch in self.rows.search().select(["modality"]).to_batches(BLOCK * 64):
                    found.update(batch.column("modality").unique().to_pylist())
                self._modalities = (state, tuple(sorted(map(unescape_surrogates, found))))
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
            own = None if modality is None else f"modality = {quote(escape_surrogates(modality))}"
            return int(self.rows.count_rows(all_of(where, own)))

    @contextmanager
    def meeting(self, where: str | None) -> Iterator[str | None]:
        """Yield the condition as LanceDB is to have it; ValueError where it is at fault for what fails.

        That may depend on the rows: a division by a column that is 0 in one.
        """
        if where is None:
            yield None
            return
        with storing(self.folder, "read"):
            self.refresh()
        parsed = condition(where, [*OWN[:2], *metadata_names(self.latest.schema)])
        try:
            yield parsed
        except StoreError as error:
            fault = self._fault(parsed) if error.__cause__ else None
            if fault is None or self._fault("length(key) >= 0"):  # which any row meets that can be read
                raise
            raise misread(where, spoken(fault)) from fault

    def _fault(self, condition: str) -> Exception | None:
        """What comes of asking for all rows that meet a condition, when that fails."""
        try:
            self.rows.count_rows(condition)
        except Exception as cause:
            return cause
        return None


def another_modality(key: str, held: str, given: str) -> ValueError:
    """The error for a key that a row of one modality has, and an item of another is to get."""
    return ValueError(
        f"the key {key!r:.200} is that of a row of {held}, and an item of {given} can't take its place: give "
        "it another key, or delete that row first"
    )


def _replace(table: Any, rows: Any) -> None:
    table.merge_insert("key").when_matched_update_all().when_not_matched_insert_all().execute(rows)


def _known(table: Any, keys: Sequence[str]) -> dict[str, Known]:
    found: dict[str, Known] = {}
    if not keys:
        return found
    names = [name for name in table.schema.names if name != "vector"]
    for start in range(0, len(keys), BLOCK):
        condition = is_one_of("key", keys[start : start + BLOCK])
        part = table.search().where(condition).select(names).to_arrow()
        for row, said in zip(part.to_pylist(), metadata_of(part), strict=True):
            found[row["key"]] = Known(
                row["modality"],
                row["_hash"],
                row["_size"],
                row["_time"],
                reason=row.get("reason"),
                fault=row.get("fault", "content"),
                metadata=said,
            )
    return found
