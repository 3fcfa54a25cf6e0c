"""What went wrong, on standard error: the items that failed, and the error that ended the command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from ..errors import InputError, MmencodeError
from .output import Table, shown, table


class Commands(TyperGroup):
    """The group of commands; an error that mmencode raised on purpose ends one with exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; other exceptions are bugs and keep their traceback."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader went away, as in `mmencode list | head`
            raise
        except (MmencodeError, OSError) as error:
            _say(error)
            raise typer.Exit(1) from error


def _say(error: Exception) -> None:
    lines = str(error).splitlines() or [type(error).__name__]
    typer.echo("\n".join(shown(line) for line in [f"error: {lines[0]}", *lines[1:]]), err=True)


def report(failed: Sequence[InputError]) -> None:
    """List the items that failed, each with its reason."""
    if not failed:
        return
    count = f"{len(failed)} item{'s' if len(failed) > 1 else ''} failed"
    rows = [(error.source, error.fact) for error in failed]
    table(Table(count, ("failed", "reason"), rows), err=True)


def require_some(count: int, failed: Sequence[InputError]) -> None:
    """Exit with 1 after the report when no item is left."""
    if count:
        return
    report(failed)
    typer.echo("error: nothing could be encoded", err=True)
    raise typer.Exit(1)


def as_documents(failed: Sequence[InputError]) -> list[dict[str, str]]:
    """The failures for a JSON document."""
    return [{"item": error.source, "reason": error.fact, "remedy": error.remedy} for error in failed]
