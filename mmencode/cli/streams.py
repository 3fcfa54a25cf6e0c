"""Repair the three standard streams, with which a process may have been started in any state."""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn


class ClosedStream(io.TextIOBase):
    """A substitute for a closed standard stream; reading and writing raise OSError with its name."""

    encoding = "utf-8"

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def buffer(self) -> ClosedStream:
        """The stream itself, whose methods fail for bytes as for text."""
        return self

    def isatty(self) -> bool:
        """Whether the stream is a terminal: never, since it is closed."""
        return False

    def flush(self) -> None:
        """Do nothing, since nothing can have been written."""

    def write(self, text: object) -> NoReturn:
        """Raise OSError, since the stream is closed."""
        self._fail()

    def read(self, size: int | None = -1) -> NoReturn:
        """Raise OSError, since the stream is closed."""
        self._fail()

    def readline(self, size: int = -1) -> NoReturn:  # type: ignore[override]
        """Raise OSError, since the stream is closed."""
        self._fail()

    def _fail(self) -> NoReturn:
        raise OSError(f"{self._name} is closed")


def mend() -> None:
    """Replace standard streams that are closed, and let the others escape what their encoding can't hold.

    Messages to a closed standard error are dropped. The descriptors 0 to 2 are occupied where they are free:
    otherwise the next file opened would get one of them, and receive what a library prints.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor, which is this one
    sys.stdin = sys.stdin or ClosedStream("standard input")
    sys.stdout = sys.stdout or ClosedStream("standard output")
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
