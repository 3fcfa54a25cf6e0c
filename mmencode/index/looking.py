"""Files as they are looked at once, however many items they hold."""

from __future__ import annotations

import threading

from .stamps import ContentStamp, stamp_of_file, stamp_of_status


class LookedAt:
    """A file whose stamp is taken once, for all the items in it; several threads may ask for it.

    `parts` is the number of its items, None for a file that is a single one, or where nobody counted them.
    """

    path: str
    parts: int | None

    def __init__(self, path: str, parts: int | None = None) -> None:
        self.path, self.parts = path, parts
        self._lock = threading.Lock()
        self._status: ContentStamp | None = None
        self._content: ContentStamp | None = None

    def look(self) -> ContentStamp:
        """Take the size and time of the file, without reading it; an empty stamp where it isn't there."""
        with self._lock:
            if self._status is None:
                self._status = stamp_of_status(self.path)
            return self._status

    def read(self, most: int) -> ContentStamp:
        """Take the hash of the content; without one above `most` bytes, which no reader takes."""
        with self._lock:
            if self._content is None:
                self._content = stamp_of_file(self.path, most)
            return self._content.with_parts(self.parts)
