"""The three standard streams as a command needs them, whatever the process was started with."""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn


class Closed(io.TextIOBase):
    """Stands for a standard stream that is closed: whoever uses it gets an error that says so."""

    encoding = "utf-8"

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def buffer(self) -> Closed:
        """The same for bytes."""
        return self

    def isatty(self) -> bool:
        """Nobody is looking."""
        return False

    def flush(self) -> None:
        """Nothing is held back."""

    def write(self, text: object) -> NoReturn:
        """Raise OSError."""
        self._fail()

    def read(self, size: int | None = -1) -> NoReturn:
        """Raise OSError."""
        self._fail()

    def readline(self, size: int = -1) -> NoReturn:  # type: ignore[override]
        """Raise OSError."""
        self._fail()

    def _fail(self) -> NoReturn:
        raise OSError(f"{self._name} is closed")


def mend() -> None:
    """Put something in the place of streams that are closed; escape what the others' encoding can't hold.

    What would be said on a closed standard error is said to nobody. The numbers of closed streams are taken,
    lest a file that is opened gets one, and what some library prints.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    sys.stdin = sys.stdin or Closed("standard input")
    sys.stdout = sys.stdout or Closed("standard output")
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
