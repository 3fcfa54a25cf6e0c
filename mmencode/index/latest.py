"""A table of LanceDB as it is at its latest commit, asked of LanceDB only when there is another."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import StoreError
from ..errors.causes import message_of
from .lance import DAMAGED, DENIED, connect

_LENGTH = len("18446744073709551615.manifest")
_VERSIONS = "_versions"  # where Lance keeps a file for each version of a table, its manifest


class State(NamedTuple):
    """What no two commits have in common, nor two tables that stood in one place one after the other."""

    folder: tuple[int, int]
    versions: int
    newest: str
    stamp: tuple[int, int, int]


class Latest:
    """A table with its version, schema and number of rows, as of the last `refresh`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.table: Any = None
        self.version = -1
        self.schema: Any = None
        self.count = 0
        self._folder, self._name = folder, name
        self._versions = folder / f"{name}.lance" / _VERSIONS
        self.seen: State | None = None  # as of that refresh; None where nothing is known
        self._guard = threading.Lock()

    def refresh(self) -> None:
        """Let the table see the latest commit, whoever made it; StoreError where there is no table any more.

        A table that took the place of the one that was opened is opened anew, since LanceDB remembers what it
        read by path and version. Whether it is the same index, its schema says.
        """
        with self._guard:
            # Looked at before the table itself, so that what comes between makes the next one look again.
            state = self._state()
            if state == self.seen:
                return
            if self._goes_on(state):
                self.table.checkout_latest()
            else:
                self.seen = None  # should opening fail, nothing is known
                self.table = connect(self._folder).open_table(self._name)
            self.version = self.table.version
            self.schema = self.table.schema
            self.count = self.table.count_rows()
            self.seen = state

    def appended(self, version: int, count: int) -> None:
        """Take note of rows that were just appended here; to be called by who has the right to write."""
        with self._guard:
            state = self._state()
            if not self._goes_on(state):  # another index took the place meanwhile
                self.seen = None
                return
            self.count += count if version > self.version else 0  # else another thread has seen it already
            self.version = version
            self.seen = state

    def _goes_on(self, state: State) -> bool:
        """Whether this state came from the one that was seen, by commits: its manifest is still there."""
        seen = self.seen
        if seen is None or seen.folder != state.folder:
            return False
        try:
            return _stamp(self._versions / seen.newest) == seen.stamp
        except OSError:  # old versions are removed now and then
            return False

    def _state(self) -> State:
        try:
            status = os.stat(self._versions)
            names = [name for name in os.listdir(self._versions) if name.endswith(".manifest")]
            newest = _newest(names)
            return State((status.st_dev, status.st_ino), len(names), newest, _stamp(self._versions / newest))
        except PermissionError as cause:
            raise StoreError(
                f"its table {self._name} can't be read: {message_of(cause)}",
                culprit=str(self._folder),
                remedy=DENIED,
            ) from cause
        except (OSError, ValueError) as cause:
            raise StoreError(
                f"its table {self._name} isn't there", culprit=str(self._folder), remedy=DAMAGED
            ) from cause


def _newest(names: list[str]) -> str:
    """The manifest of the highest version; Lance counts down from 2^64 - 1, and in old tables up from 1."""
    counted_down = [name for name in names if len(name) == _LENGTH]
    return min(counted_down) if counted_down else max(names, key=lambda name: int(name.partition(".")[0]))


def _stamp(manifest: Path) -> tuple[int, int, int]:
    status = os.stat(manifest)
    return (status.st_ino, status.st_size, status.st_mtime_ns)
