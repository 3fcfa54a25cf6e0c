"""The rows of an index that are held in memory: how many at most, from which query on, of which commit."""

from __future__ import annotations

import operator
import threading
from typing import Any

from . import ann
from .latest import LatestTable
from .layout import Layout
from .snapshot import Snapshot

MEMORY = 512 * 2**20  # bytes that an index may hold unless told otherwise
FEW = 4  # queries that LanceDB answers in the time that it takes to read all rows
VERSIONS = 128  # of a table, up to which it is quick to ask LanceDB for their files


class ResidentRows:
    """The rows of the commit that a table was last seen at, in memory where they are worth it and fit.

    An index of fewer rows than have an approximate index is held from the query on that comes after the
    first four, for LanceDB answers those sooner than it reads all rows. After a commit of any process only
    what is new is read, which takes about as long as one search by LanceDB. Several threads may use it.
    """

    def __init__(self, latest: LatestTable, layout: Layout, most: int) -> None:
        self._latest, self._layout, self._most = latest, layout, most
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._asked = 0

    @property
    def most(self) -> int:
        """The most bytes that are held."""
        return self._most

    @property
    def held(self) -> int:
        """The bytes that are held."""
        snapshot = self._snapshot
        return 0 if snapshot is None else snapshot.nbytes

    @property
    def needed(self) -> int:
        """The bytes that the vectors take in memory; 0 where they stay on disk, being too many."""
        if self._layout.many or self._latest.count >= ann.FROM_ROWS:
            return 0
        dim = self._latest.schema.field("vector").type.list_size
        nbytes = int(self._latest.count * dim * 4)
        return nbytes if nbytes <= self._most else 0

    def take(self, count: int) -> Snapshot | None:
        """Take the rows for a search by so many queries; None where LanceDB is to search.

        Call this after the table was refreshed. One thread reads the rows while others wait for them.
        """
        if not self.needed:
            self._snapshot = None
            return None
        found = self._current()
        if found is not None:
            return found
        with self._lock:
            found = self._current()  # which another thread may have read since
            if found is None:
                found = self._snapshot = self._read(count)
            return found

    def _current(self) -> Snapshot | None:
        snapshot = self._snapshot
        table, version, _ = self._latest.read_state()
        return snapshot if snapshot is not None and snapshot.is_of(table, version) else None

    def _read(self, count: int) -> Snapshot | None:
        """Read the rows, or those that are new; None where it isn't worth it yet, or they don't fit."""
        held, self._snapshot = self._snapshot, None
        table, version, grown_from = self._latest.read_state()
        try:
            if held is not None:
                grown = held.is_before(table, grown_from)
                mark = self._latest.mark
                few = mark is not None and mark.versions <= VERSIONS
                if grown or (few and held.shares_vectors(table, version)):
                    found = Snapshot.read(table, version, self._most, held=held, grown=grown)
                    if found is not None:
                        return found
                held, self._asked = None, 0  # the memory is free before it is filled again
            self._asked += count
            return Snapshot.read(table, version, self._most) if self._asked > FEW else None
        except MemoryError:
            return None


def require_memory(value: Any) -> int:
    """Take a number of bytes; ValueError for what is none, and for a negative one."""
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if number < 0:
        raise ValueError(
            f"memory is {value!r:.100}: make it the bytes of rows that may be held, an int; 0 holds none"
        )
    return number
