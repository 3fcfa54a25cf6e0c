"""What went wrong, on standard error: the items that failed, and the error that ended the command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import typer
from typer.core import TyperGroup

from ..errors import InputError, MmencodeError
from ..errors.causes import message_of
from .output import Table, shown, table

# What a wrong command line raises; the Click that has it may be Typer's own, under a private name.
Usage: type[Exception] = cast("type[Exception]", typer.BadParameter.__base__)


class Commands(TyperGroup):
    """The group of commands; an error that mmencode raised on purpose ends one with exit code 1."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the command line."""
        with _usage_shown():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; other exceptions are bugs and keep their traceback."""
        try:
            with _usage_shown():
                return super().invoke(ctx)
        except BrokenPipeError:  # the reader went away, as in `mmencode list | head`
            raise
        except (MmencodeError, OSError) as error:
            _say(error)
            raise typer.Exit(1) from error


@contextmanager
def _usage_shown() -> Iterator[None]:
    """Escape what an error about the command line says of it, which a terminal would take for its own."""
    try:
        yield
    except Usage as error:
        said: Any = error
        said.message = shown(said.message)
        raise


def _say(error: MmencodeError | OSError) -> None:
    """Print an error in its parts, each of which is words alone: no name in one makes another of itself."""
    if isinstance(error, MmencodeError):
        first, *more = error.fact.split("\n")
        place = place_of(error)
        lines = [f"error: {shown(first)}", *(f"    {shown(line)}" for line in more)]
        lines += [f"  where:  {shown(place)}"] if place else []
        lines += [f"  remedy: {shown(error.remedy)}"] if error.remedy else []
    else:
        lines = [f"error: {message_of(error)}"]
    typer.echo("\n".join(lines), err=True)


def place_of(error: MmencodeError) -> str:
    """Where an error says that it happened: an item of a batch, or whoever is at fault."""
    if not isinstance(error, InputError):
        return error.culprit
    return error.source if error.index is None else f"item {error.index}, {error.source}"


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
