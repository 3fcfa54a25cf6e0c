"""What foreign code prints, kept away from standard output."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

MOST = 200  # characters that are remembered


class Aside(io.TextIOBase):
    """A standard output whose text goes to standard error; `kept` is the one in whose place it stands.

    With `thread`, what other threads write goes on to `kept`. `said` is how the text began.
    """

    def __init__(self, kept: TextIO, thread: int | None = None) -> None:
        self.kept = kept
        self.said = ""
        self._error = sys.stderr
        self._thread = thread
        self.released = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of standard error."""
        return getattr(self._error, "encoding", None) or "utf-8"

    @property
    def buffer(self) -> io.RawIOBase:
        """The same for bytes."""
        return _Bytes(self)

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, text: str) -> int:
        """Write to standard error, or to the real one where that is right."""
        aside = not self.released and self._thread in (None, threading.get_ident())
        if aside:
            self.said += text[: MOST - len(self.said)]
        stream = self._error if aside else self.kept
        if stream is not None:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush both."""
        for stream in (self._error, self.kept):
            if stream is not None:
                stream.flush()

    def close(self) -> None:
        """Keep both open: neither is this one's."""

    def isatty(self) -> bool:
        """Whether somebody looks at the real one."""
        return self.kept is not None and self.kept.isatty()

    def fileno(self) -> int:
        """The descriptor of the real one."""
        return self.kept.fileno()

    def release(self) -> None:
        """Write all to the real one from now on, since somebody may have kept this one."""
        self.released = True


class _Bytes(io.RawIOBase):
    def __init__(self, aside: Aside) -> None:
        self._aside = aside

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        content = bytes(memoryview(data))  # type: ignore[arg-type]
        self._aside.write(content.decode("utf-8", "backslashreplace"))
        return len(content)


@contextmanager
def print_aside(thread: int | None = None) -> Iterator[Aside]:
    """Send what is printed within to standard error, by this thread alone or by all."""
    kept = sys.stdout
    aside = Aside(kept, thread)
    sys.stdout = aside
    try:
        yield aside
    finally:
        aside.release()
        while isinstance(kept, Aside) and kept.released:  # another thread's, which ended meanwhile
            kept = kept.kept
        sys.stdout = kept
