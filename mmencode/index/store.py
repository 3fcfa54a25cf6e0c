"""The store of an index: its folder, from which many read and one at a time writes, one commit at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..embeddings.surrogates import escape_surrogates, unescape_surrogates
from ..errors import BusyError, StoreError
from .ann import FROM_ITEMS, FROM_ROWS, count_covered, method
from .columns import OWN, Owner, metadata_names
from .conditions import check_condition, misread
from .editions import FOLDER as EDITIONS
from .editions import current_folder
from .full_text import FROM_LOOSE, FullText, is_due, read_full_text
from .lance import lance_message, require_threads
from .latest import CommitMark
from .layout import Layout
from .locking import ThreadLock, WriteLock
from .places import Address, Place
from .resident import MEMORY, ResidentRows
from .sql import all_of, quote
from .tables import SCANNED, Tables
from .writer import Writer

LOCK = "lock"


class Store:
    """The folder of one index, whose vectors are of the space with the fingerprint `space`.

    Readers see the latest commit, whoever made it. To write takes a `Writer`, which `writing` gives to one at
    a time, across threads and processes. LanceDB's errors are raised as StoreError, and so is another index
    in the place of the one that was opened. Rows take at most `memory` bytes of memory between searches.
    Where the folder is that of an edition of an `index`, nothing is written once another one is current.
    """

    lock: WriteLock | ThreadLock
    tables: Tables
    resident: ResidentRows

    def __init__(self, folder: Place, space: str, memory: int = MEMORY, *, index: Path | None = None) -> None:
        self.folder = folder
        self._index = index
        self.lock = ThreadLock() if isinstance(folder, Address) else WriteLock(folder / LOCK)
        self.tables = Tables(folder, space)
        self.resident = ResidentRows(self.tables.rows, self.layout, memory)
        self._modalities: tuple[CommitMark | None, tuple[str, ...]] = (None, ())
        self._method: tuple[CommitMark | None, str] = (None, "")
        self._full_text: tuple[CommitMark | None, tuple[FullText, ...]] = (None, ())

    @property
    def owner(self) -> Owner:
        """The index that the tables belong to."""
        return self.tables.owner

    @property
    def layout(self) -> Layout:
        """The layout of the rows' vectors."""
        return self.owner.layout

    @property
    def rows(self) -> Any:
        """LanceDB's table of rows, to read."""
        return self.tables.rows.table

    @property
    def failures(self) -> Any:
        """LanceDB's table of failures, to read."""
        return self.tables.failures.table

    @property
    def metadata_names(self) -> list[str]:
        """The names of the columns of metadata, as of the latest commit that was seen."""
        return metadata_names(self.tables.rows.schema)

    @contextmanager
    def reading(self, doing: str = "read") -> Iterator[None]:
        """See the latest commits, and raise LanceDB's errors as StoreError: "the index can't be `doing`"."""
        with self.tables.reading(doing):
            yield

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Yield the writer, which alone can change the tables, and within the block only.

        Raises BusyError while another has it for too long.
        """
        require_threads()  # first of all, since in a forked process the lock may never become free
        with self.lock.hold():
            with self.tables.reading():  # what others committed while this one waited
                pass
            self._require_current()
            writer = Writer(self.tables)
            try:
                yield writer
            finally:
                writer.end()

    def compact_if_grown(self) -> None:
        """Compact once searching the rows that no approximate index, or no full text, covers takes long."""
        # The hashes in memory are counted first, since that costs nothing. Those of deleted keys are among
        # them, so that there may be fewer rows, but not more.
        least = FROM_ITEMS if self.layout.many else FROM_ROWS
        known = len(self.tables.key_hashes)
        if (known >= least and self.count() - self.count_covered() >= least) or (
            known >= FROM_LOOSE and self._is_text_due()
        ):
            # On shared storage another writer may be at it; whoever adds next tries again.
            busy: tuple[type[Exception], ...] = (BusyError,) if self.tables.shared else ()
            with suppress(*busy), self.writing() as writer:
                writer.compact()

    def row_keys(self, modality: str) -> Iterator[str]:
        """Iterate over the escaped keys of a modality's rows that were encoded here, not given as vectors."""
        condition = all_of(_is_of(modality), "_hash IS NOT NULL OR _size IS NOT NULL")
        with self.reading():
            yield from _scan_keys(self.rows, condition)

    def failure_keys(self, modality: str) -> Iterator[str]:
        """Iterate over the escaped keys of a modality's failures."""
        with self.reading():
            yield from _scan_keys(self.failures, _is_of(modality))

    def modalities(self) -> tuple[str, ...]:
        """The modalities of the rows, sorted; read again after each commit."""
        with self.reading():
            mark = self.tables.rows.mark
            if mark is None or self._modalities[0] != mark:
                found: set[str] = set()
                for batch in self.rows.search().select(["modality"]).to_batches(SCANNED):
                    found.update(batch.column("modality").unique().to_pylist())
                self._modalities = (mark, tuple(sorted(map(unescape_surrogates, found))))
            return self._modalities[1]

    def bytes(self) -> int:
        """The size of all files, without those of other editions; at an address of the latest rows alone."""
        if isinstance(self.folder, Address):
            with self.reading():
                return sum(int(table.stats()["total_bytes"]) for table in (self.rows, self.failures))
        return sum(
            os.lstat(os.path.join(root, name)).st_size
            for root, _, names in os.walk(self.folder)
            for name in names
            if not Path(root).is_relative_to(self.folder / EDITIONS)
        )

    def method(self) -> str:
        """The kind of the approximate index, "" when there is none; read again after each commit."""
        with self.reading():
            mark = self.tables.rows.mark
            if mark is None or self._method[0] != mark:
                self._method = (mark, method(self.rows))
            return self._method[1]

    def full_text(self) -> tuple[FullText, ...]:
        """The columns that have full text, sorted by name; read again after each commit."""
        with self.reading():
            mark = self.tables.rows.mark
            if mark is None or self._full_text[0] != mark:
                self._full_text = (mark, read_full_text(self.rows))
            return self._full_text[1]

    def _is_text_due(self) -> bool:
        """Whether full text is to be brought up to date, since searching the rows beside it takes long."""
        columns = self.full_text()
        with self.reading():
            return is_due(self.rows, columns)

    def count_covered(self) -> int:
        """Count the rows in the approximate index."""
        with self.reading():
            return count_covered(self.rows)

    def count(self, modality: str | None = None) -> int:
        """Count the rows of a modality, or all rows."""
        with self.reading():
            return self.tables.rows.count if modality is None else int(self.rows.count_rows(_is_of(modality)))

    @contextmanager
    def meeting(self, where: str | None) -> Iterator[str | None]:
        """Yield a user's condition as checked for LanceDB; ValueError where it makes the block fail.

        A condition may fail on some rows only: by a division by a column that is 0 in one, say.
        """
        if where is None:
            yield None
            return
        with self.reading():
            pass
        checked = check_condition(where, [*OWN[:2], *self.metadata_names])
        try:
            yield checked
        except StoreError as error:
            fault = self._try(checked) if error.__cause__ else None
            # Where a condition that any row meets fails as well, the table is at fault, not the user.
            if fault is None or self._try("length(key) >= 0"):
                raise
            raise misread(where, lance_message(fault)) from fault

    def _require_current(self) -> None:
        """Raise StoreError where the index was moved to another space since it was opened."""
        if self._index is not None and current_folder(self._index) != self.folder:
            raise StoreError(
                "the index was moved to another space, or back, since it was opened: it can be read as it "
                "was, and not written to",
                culprit=str(self._index),
                remedy="open it again: Index.open(path)",
            )

    def _try(self, condition: str) -> Exception | None:
        """Evaluate a condition on all rows, and return the error, if any."""
        try:
            self.rows.count_rows(condition)
        except Exception as cause:
            return cause
        return None


def _scan_keys(table: Any, condition: str | None) -> Iterator[str]:
    for batch in table.search().where(condition).select(["key"]).to_batches(SCANNED):
        yield from batch.column("key").to_pylist()


def _is_of(modality: str) -> str:
    return f"modality = {quote(escape_surrogates(modality))}"
