"""Redirect what foreign code prints from standard output, which is for results, to standard error."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

MOST = 200  # characters kept in `said`
# Python's print holds no reference to `sys.stdout` while it writes: one that a thread replaces, and nobody
# else holds, is freed under it, and the process crashes. So all are held: one for each plugin and command.
_HELD: list[RedirectedOutput] = []


class RedirectedOutput(io.TextIOBase):
    """A stream in place of standard output, whose text goes to standard error.

    `kept` is the standard output that it replaces. With `thread`, text of other threads still goes to `kept`.
    `said` is the beginning of the redirected text.
    """

    said: str
    released: bool

    def __init__(self, kept: TextIO, thread: int | None = None) -> None:
        self.kept = kept
        self.said = ""
        self._error = sys.stderr
        self._thread = thread
        self.released = False
        _HELD.append(self)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of standard error."""
        return getattr(self._error, "encoding", None) or "utf-8"

    @property
    def buffer(self) -> io.RawIOBase:
        """A binary stream whose bytes are decoded and redirected like text."""
        return _Bytes(self)

    def writable(self) -> bool:
        """Tell that this stream can be written to."""
        return True

    def write(self, text: str) -> int:
        """Write to standard error, or to the replaced stream for other threads and after the release."""
        redirected = not self.released and self._thread in (None, threading.get_ident())
        if redirected:
            self.said += text[: MOST - len(self.said)]
        stream = self._error if redirected else self.kept
        if stream is not None:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush standard error and the replaced stream."""
        for stream in (self._error, self.kept):
            if stream is not None:
                stream.flush()

    def close(self) -> None:
        """Close nothing, since both streams belong to the process."""

    def isatty(self) -> bool:
        """Whether the replaced stream is a terminal."""
        return self.kept is not None and self.kept.isatty()

    def fileno(self) -> int:
        """The file descriptor of the replaced stream."""
        return self.kept.fileno()

    def release(self) -> None:
        """Write to the replaced stream from now on, since foreign code may have kept this one."""
        self.released = True


class _Bytes(io.RawIOBase):
    def __init__(self, text: RedirectedOutput) -> None:
        self._text = text

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        content = bytes(memoryview(data))  # type: ignore[arg-type]
        self._text.write(content.decode("utf-8", "backslashreplace"))
        return len(content)


@contextmanager
def redirect_output(thread: int | None = None) -> Iterator[RedirectedOutput]:
    """Send text printed in the block to standard error: that of one thread, or of all."""
    kept = sys.stdout
    redirected = RedirectedOutput(kept, thread)
    sys.stdout = redirected
    try:
        yield redirected
    finally:
        redirected.release()
        # Skip the streams of blocks in other threads that have ended meanwhile.
        while isinstance(kept, RedirectedOutput) and kept.released:
            kept = kept.kept
        sys.stdout = kept
