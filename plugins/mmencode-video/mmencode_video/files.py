"""One open file is read at several places at once."""

from __future__ import annotations

import os
import threading
from io import RawIOBase
from typing import Any, BinaryIO


class View(RawIOBase):
    """A file with a place of its own, which begins at 0; `lock` is held while the shared file is read."""

    def __init__(self, file: BinaryIO, lock: threading.Lock) -> None:
        super().__init__()
        self._file, self._lock, self._place = file, lock, 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that one can seek in it."""
        return True

    def tell(self) -> int:
        """The place of this view."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the place of this view; one before the beginning is the beginning."""
        if whence == os.SEEK_END:
            with self._lock:
                offset += self._file.seek(0, os.SEEK_END)
        elif whence == os.SEEK_CUR:
            offset += self._place
        self._place = max(0, offset)
        return self._place

    def readinto(self, buffer: Any, /) -> int:
        """Read into a buffer from this view's place on."""
        with self._lock:
            self._file.seek(self._place)
            count: int = self._file.readinto(buffer)  # type: ignore[attr-defined]
        self._place += count
        return count
