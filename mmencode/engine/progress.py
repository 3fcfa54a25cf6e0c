"""A progress bar for long work: on a terminal's standard error or in a notebook, and nothing when piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any

from .call import Advance

_EVERY, _SELDOM = 0.5, 5.0  # seconds between two lines in a notebook: at first, and of what takes hours
_LINES = 60  # of which a notebook keeps all: about so many while the time doubles


@contextmanager
def show_progress(shown: bool, title: str, items: Iterable[Any]) -> Iterator[Advance]:
    """Show a progress bar over items on a terminal's standard error or in a notebook, where asked for."""
    if not shown:
        yield lambda done, failed: None
        return
    with bar(title, len(items) if isinstance(items, Sized) else None) as advance:
        yield advance


@contextmanager
def bar(title: str, total: int | None) -> Iterator[Advance]:
    """Give the function that moves the bar, by items done and how many of these failed."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if console.is_jupyter:
        line = _Line(title, total)
        try:
            yield line.advance
        finally:
            line.end()
        return
    if not console.is_terminal:  # Progress, where it is disabled, may end with an empty line
        yield lambda done, failed: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failures]}", style="red"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total, rate="", failures="")
        count = 0

        def advance(done: int, failed: int) -> None:
            nonlocal count
            count += failed
            speed = progress.tasks[0].speed
            progress.update(
                task,
                advance=done,
                rate=f"{speed:.0f}/s" if speed else "",
                failures=f"{count} failed" if count else "",
            )

        yield advance


class _Line:
    """One line that is written over again: all that a notebook shows without packages that draw in it."""

    def __init__(self, title: str, total: int | None) -> None:
        self._title, self._total = title, total
        self._done = self._failed = self._width = 0
        self._start = time.monotonic()
        self._next = self._start

    def advance(self, done: int, failed: int) -> None:
        """Count, and write the line now and then."""
        self._done += done
        self._failed += failed
        if (now := time.monotonic()) >= self._next:
            self._write("")
            self._next = now + min(_SELDOM, max(_EVERY, (now - self._start) / _LINES))

    def end(self) -> None:
        """Write it for the last time."""
        self._write("\n")

    def _write(self, end: str) -> None:
        of_all = f"/{self._total}" if self._total is not None else ""
        seconds = time.monotonic() - self._start
        rate = f", {self._done / seconds:.0f}/s" if seconds > 0 else ""
        failures = f", {self._failed} failed" if self._failed else ""
        line = f"{self._title}: {self._done}{of_all}{rate}{failures}"
        sys.stderr.write(f"\r{line:{self._width}}{end}")  # as wide as the one before, to cover it
        sys.stderr.flush()
        self._width = len(line)
