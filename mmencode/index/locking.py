"""One writer at a time, across processes and threads; the kernel lets go when a process dies."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import BusyError

if sys.platform == "win32":
    import msvcrt

    def _take(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


class WriteLock:
    """The right to write, which the file `path` stands for; `with` takes it, again within itself if need be.

    BusyError when another process has it for longer than `wait` seconds.
    """

    def __init__(self, path: Path, wait: float = 60.0) -> None:
        self._path = path
        self._wait = wait
        self._thread = threading.RLock()
        self._depth = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it."""
        with self._thread:
            if self._depth:
                yield
                return
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                self._wait_for(handle)
                self._depth += 1
                yield
            finally:
                self._depth = 0
                os.close(handle)  # which lets go

    def _wait_for(self, handle: int) -> None:
        deadline = time.monotonic() + self._wait
        while True:
            try:
                return _take(handle)
            except OSError as cause:
                if time.monotonic() >= deadline:
                    raise BusyError(
                        f"another process has been writing to the index for {self._wait:g} s",
                        culprit=str(self._path.parent),
                        remedy="let it end, then do this again: what was added so far stays",
                    ) from cause
            time.sleep(0.01)
