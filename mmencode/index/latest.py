"""What a table of LanceDB's is at its latest commit, asked of LanceDB only when there is another."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

_VERSIONS = "_versions"  # where Lance keeps a file for each version of a table


class Latest:
    """A table's version, schema and number of rows, as of the last `refresh`."""

    def __init__(self, table: Any, folder: Path) -> None:
        self.table = table
        self.version = -1
        self.schema: Any = None
        self.count = 0
        self._versions = folder / _VERSIONS
        self._listed: tuple[int, str, str] | None = None
        self._guard = threading.Lock()

    def refresh(self) -> None:
        """Let the table see the latest commit, whoever made it."""
        with self._guard:
            # Listed before the look itself, so that what comes between makes the next one look again.
            listed = self._listing()
            if listed is None or listed != self._listed:
                self.table.checkout_latest()
                self.version = self.table.version
                self.schema = self.table.schema
                self.count = self.table.count_rows()
                self._listed = listed

    def appended(self, version: int, count: int) -> None:
        """Take note of rows that were just appended here; to be called by who has the right to write."""
        with self._guard:
            self.count += count if version > self.version else 0  # else another thread has seen it already
            self.version = version
            self._listed = self._listing()

    def _listing(self) -> tuple[int, str, str] | None:
        """Something that no two commits have in common; None where Lance keeps its versions elsewhere."""
        try:
            names = os.listdir(self._versions)
        except OSError:
            return None
        return (len(names), min(names), max(names)) if names else None
