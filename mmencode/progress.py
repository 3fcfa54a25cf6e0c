"""A progress bar for long work: on a terminal's standard error, and nothing when piped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .engine import Advance


@contextmanager
def bar(title: str, total: int | None) -> Iterator[Advance]:
    """Give the function that moves the bar, by items done and how many of these failed."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failures]}", style="red"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
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
