"""A table of LanceDB at its latest commit; LanceDB is asked only when the folder shows a new one."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import StoreError
from ..errors.causes import message_of
from .lance import DAMAGED, DENIED, connect
from .places import Address, Place

_LENGTH = len("18446744073709551615.manifest")
_VERSIONS = "_versions"  # where Lance keeps a file for each version of a table, its manifest


class CommitMark(NamedTuple):
    """The mark of one commit, as the folder of manifests shows it without LanceDB.

    No two commits share a mark, nor do two tables that stood at one path one after the other.

    folder    device and inode of the folder of manifests
    versions  number of manifests
    newest    name of the newest manifest
    manifest  inode, size and time in ns of that file
    """

    folder: tuple[int, int]
    versions: int
    newest: str
    manifest: tuple[int, int, int]


class LatestTable:
    """A table of LanceDB with its version, schema and number of rows, as of the last `refresh`.

    `mark` is that of the commit; None before the first `refresh`, and where one failed. Since the version
    `grown_from` this process has only appended rows, as far as it saw.
    """

    version: int
    grown_from: int
    count: int

    def __init__(self, folder: Place, name: str) -> None:
        self.table: Any = None
        self.version = self.grown_from = -1
        self.schema: Any = None
        self.count = 0
        self.mark: CommitMark | None = None
        self._folder, self._name = folder, name
        self._versions = Path() if isinstance(folder, Address) else folder / f"{name}.lance" / _VERSIONS
        self._guard = threading.Lock()

    def refresh(self) -> None:
        """See the latest commit, whoever made it; StoreError where the table is gone.

        A table that took the place of the one that was opened is opened anew, since LanceDB caches by path
        and version. Whether it belongs to the same index is for the caller to check, by its schema.
        """
        with self._guard:
            # The mark is read before the table: a commit that comes in between then shows at the next
            # refresh. Read after it, the mark would hide that commit for good.
            mark = self._read_mark()
            if mark == self.mark:
                return
            if self._descends(mark):
                self.table.checkout_latest()
            else:
                self.mark = None  # should opening fail, nothing is known
                self.table = connect(self._folder).open_table(self._name)
            self.version = self.grown_from = self.table.version
            self.schema = self.table.schema
            self.count = self.table.count_rows()
            self.mark = mark

    def note_append(self, version: int, count: int) -> None:
        """Take note of rows that this process has just appended, without asking LanceDB.

        Whoever calls this holds the right to write, so that no other process can have committed meanwhile.
        """
        with self._guard:
            mark = self._read_mark()
            if not self._descends(mark):  # another index took the place of this one meanwhile
                self.mark = None
                return
            # A thread that searches may have refreshed since the append, and counted these rows already.
            self.count += count if version > self.version else 0
            if version > self.version + 1:  # something else came in between
                self.grown_from = version
            self.version = version
            self.mark = mark

    def read_state(self) -> tuple[Any, int, int]:
        """Read the table, the version that was seen last, and the one since which it has only grown."""
        with self._guard:
            return self.table, self.version, self.grown_from

    def _descends(self, mark: CommitMark) -> bool:
        """Whether commits alone led from the mark that was seen to this one: its manifest is still there."""
        seen = self.mark
        if seen is None or seen.folder != mark.folder:
            return False
        try:
            return _status(self._versions / seen.newest) == seen.manifest
        except OSError:  # old versions are removed now and then
            return False

    def _read_mark(self) -> CommitMark:
        try:
            status = os.stat(self._versions)
            names = [name for name in os.listdir(self._versions) if name.endswith(".manifest")]
            newest = _newest(names)
            return CommitMark(
                (status.st_dev, status.st_ino), len(names), newest, _status(self._versions / newest)
            )
        except PermissionError as cause:
            raise StoreError(
                f"the index's table {self._name} can't be read: {message_of(cause)}",
                culprit=str(self._folder),
                remedy=DENIED,
            ) from cause
        except (OSError, ValueError) as cause:
            raise StoreError(
                f"the index's table {self._name} isn't there", culprit=str(self._folder), remedy=DAMAGED
            ) from cause


class SharedTable(LatestTable):
    """A table on object storage, which is asked for its latest version each time, by a request or two."""

    table: Any
    schema: Any
    version: int
    grown_from: int
    count: int
    mark: CommitMark | None

    def refresh(self) -> None:
        """See the latest commit, whoever made it; raises LanceDB's errors where the table is gone."""
        with self._guard:
            if self.table is None:
                self.table = connect(self._folder).open_table(self._name)
            else:
                self.table.checkout_latest()
            version = self.table.version
            if version != self.version:
                self.version = self.grown_from = version
                self.schema = self.table.schema
                self.count = self.table.count_rows()
                self.mark = CommitMark((0, 0), version, str(version), (0, 0, 0))

    def note_append(self, version: int, count: int) -> None:
        """See the latest commit, since another writer's may have come in between."""
        self.refresh()


def table_at(folder: Place, name: str) -> LatestTable:
    """Give a table of an index in a folder or at an address."""
    return SharedTable(folder, name) if isinstance(folder, Address) else LatestTable(folder, name)


def _newest(names: list[str]) -> str:
    """The manifest of the highest version; Lance counts down from 2^64 - 1, and in old tables up from 1."""
    counted_down = [name for name in names if len(name) == _LENGTH]
    return min(counted_down) if counted_down else max(names, key=lambda name: int(name.partition(".")[0]))


def _status(manifest: Path) -> tuple[int, int, int]:
    status = os.stat(manifest)
    return (status.st_ino, status.st_size, status.st_mtime_ns)
