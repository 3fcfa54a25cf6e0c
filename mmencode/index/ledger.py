"""The ledger of a migration: what is to become of each row, and what is done, kept on the disk."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Fault, StoreError
from ..errors.causes import message_of

ENCODE, MAP, LOST = "encode", "map", "lost"
_TABLE = """
CREATE TABLE IF NOT EXISTS row (
    key BLOB PRIMARY KEY, modality TEXT, way TEXT, digest BLOB, survey INTEGER,
    done BLOB, failed BLOB, reason TEXT, fault TEXT, tries INTEGER DEFAULT 0
) WITHOUT ROWID
"""
_NOTE = """
INSERT INTO row (key, modality, way, digest, survey) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
    modality = excluded.modality, way = excluded.way, digest = excluded.digest, survey = excluded.survey
"""
_TODO = "way = ? AND modality = ? AND done IS NOT digest AND failed IS NOT digest"


@dataclass(frozen=True, slots=True)
class Settled:
    """The outcome of a row so far: the digest with which it was done, or failed, and how that was."""

    done: bytes | None = None
    failed: bytes | None = None
    reason: str = ""
    fault: Fault = "access"
    tries: int = 0

    @property
    def lasts(self) -> bool:
        """Whether a failure isn't tried again: one that could pass is tried twice."""
        return self.tries > 1 or self.fault not in ("access", "time")


class Ledger:
    """The rows of an index by their escaped keys: what is to become of each, and which are done.

    A `digest` stands for a row as it is now: one that was done or failed with another digest was changed
    since. Each method is one transaction, so that a process may be killed at any moment. Several threads may
    use it. Raises StoreError, on a full disk, say.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: Any = None
        with self._using():
            self._connection = sqlite3.connect(path, check_same_thread=False, timeout=60)
            with self._connection as connection:
                connection.execute(_TABLE)

    def close(self) -> None:
        """Close the file, which stays for the next run."""
        with self._lock:
            self._connection.close()

    def find_settled(self, keys: Sequence[str]) -> dict[str, Settled]:
        """Find what is settled of the rows that have these keys, as far as it is known."""
        found = {}
        with self._using():
            for key in keys:
                row = self._connection.execute(
                    "SELECT done, failed, reason, fault, tries FROM row WHERE key = ?", (key.encode(),)
                ).fetchone()
                if row is not None:
                    found[key] = Settled(row[0], row[1], row[2] or "", row[3] or "access", row[4])
        return found

    def note(self, rows: Iterable[tuple[str, str, str, bytes]], survey: int) -> None:
        """Note rows as a survey finds them: key, modality, way and digest."""
        with self._using(), self._connection as connection:
            connection.executemany(_NOTE, [(key.encode(), *others, survey) for key, *others in rows])

    def forget_others(self, survey: int) -> list[str]:
        """Forget the rows that a survey didn't find; return the keys of those that were done."""
        with self._using(), self._connection as connection:
            gone = connection.execute(
                "SELECT key FROM row WHERE survey != ? AND done IS NOT NULL", (survey,)
            ).fetchall()
            connection.execute("DELETE FROM row WHERE survey != ?", (survey,))
        return [key.decode() for (key,) in gone]

    def rows_to_do(self, way: str, modality: str, count: int) -> Iterator[dict[str, bytes]]:
        """Iterate over the rows that aren't done, in the order of their keys, `count` at a time.

        They are digests by key.
        """
        last = b""
        while True:
            with self._using():
                rows = self._connection.execute(
                    f"SELECT key, digest FROM row WHERE {_TODO} AND key > ? ORDER BY key LIMIT ?",
                    (way, modality, last, count),
                ).fetchall()
            if not rows:
                return
            yield {key.decode(): digest for key, digest in rows}
            last = rows[-1][0]

    def finish(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Note rows, by key and digest, as written into the new edition."""
        with self._using(), self._connection as connection:
            connection.executemany(
                "UPDATE row SET done = ?, failed = NULL WHERE key = ?",
                [(digest, key.encode()) for key, digest in rows],
            )

    def fail(self, rows: Iterable[tuple[str, bytes, str, str]]) -> None:
        """Note rows that can't be encoded: key, digest, reason and fault."""
        with self._using(), self._connection as connection:
            connection.executemany(
                "UPDATE row SET failed = ?, reason = ?, fault = ?, tries = tries + 1 WHERE key = ?",
                [(digest, reason, fault, key.encode()) for key, digest, reason, fault in rows],
            )

    def count_done(self, way: str) -> dict[str, int]:
        """Count, by modality, the rows that came into the new edition in a way."""
        with self._using():
            rows = self._connection.execute(
                "SELECT modality, count(*) FROM row WHERE way = ? AND done IS digest GROUP BY modality",
                (way,),
            ).fetchall()
        return dict(rows)

    def keys_left_out(self) -> list[str]:
        """List the keys of rows that were done before, and are to be left out now."""
        with self._using():
            rows = self._connection.execute(
                "SELECT key FROM row WHERE done IS NOT NULL AND (way = ? OR done IS NOT digest)", (LOST,)
            ).fetchall()
        return [key.decode() for (key,) in rows]

    @contextmanager
    def _using(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as cause:
                full = "full" in str(cause) or "disk I/O" in str(cause)
                raise StoreError(
                    f"the notes of a migration can't be kept: {message_of(cause)}",
                    culprit=str(self._path),
                    remedy="free some space and try again; what is done stays"
                    if full
                    else "`mmencode index migrate --cancel` removes the unfinished migration",
                ) from cause
