"""Report on standard error the items that failed, and the error that ended a command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import typer
from typer.core import TyperGroup

from ..errors import InputError, MmencodeError
from ..errors.causes import escape_unprintable, message_of
from .output import Table, table

# Click's UsageError, taken from a subclass: Typer may carry a copy of Click under a private name.
UsageError: type[Exception] = cast("type[Exception]", typer.BadParameter.__base__)


class CommandGroup(TyperGroup):
    """A group of commands that turns the errors of mmencode and of the system into exit code 1."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the command line."""
        with _escape_usage_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command; exceptions of other types are bugs and keep their traceback."""
        try:
            with _escape_usage_errors():
                return super().invoke(ctx)
        except BrokenPipeError:  # the reader went away, as in `mmencode list | head`
            raise
        except (MmencodeError, OSError) as error:
            _print_error(error)
            raise typer.Exit(1) from error


@contextmanager
def _escape_usage_errors() -> Iterator[None]:
    """Escape control characters in usage errors, which quote the command line to a terminal."""
    try:
        yield
    except UsageError as error:
        said: Any = error
        said.message = escape_unprintable(said.message)
        raise


@contextmanager
def blame_usage(option: str | None = None) -> Iterator[None]:
    """Turn a ValueError about an argument, such as a condition that isn't SQL, into wrong usage of an option.

    Errors of mmencode's own tree pass, since they name their remedy.
    """
    try:
        yield
    except MmencodeError:
        raise
    except ValueError as cause:
        raise typer.BadParameter(str(cause), param_hint=option) from cause


def _print_error(error: MmencodeError | OSError) -> None:
    """Print an error with its place and its remedy, each on lines of its own.

    Each part is escaped by itself, so that a file name with line ends can't pass for another part.
    """
    if isinstance(error, MmencodeError):
        first, *more = error.fact.split("\n")
        place = _place(error)
        lines = [f"error: {escape_unprintable(first)}", *(f"    {escape_unprintable(line)}" for line in more)]
        lines += [f"  where:  {escape_unprintable(place)}"] if place else []
        lines += [f"  remedy: {escape_unprintable(error.remedy)}"] if error.remedy else []
    else:
        lines = [f"error: {message_of(error)}"]
    typer.echo("\n".join(lines), err=True)


def _place(error: MmencodeError) -> str:
    """The item of a batch at which an error happened, or else the distribution at fault."""
    if not isinstance(error, InputError):
        return error.culprit
    return error.source if error.index is None else f"item {error.index}, {error.source}"


def report(failed: Sequence[InputError]) -> None:
    """List on standard error the items that failed, each with its reason."""
    if not failed:
        return
    count = f"{len(failed)} item{'s' if len(failed) > 1 else ''} failed"
    rows = [(error.source, error.fact) for error in failed]
    table(Table(count, ("failed", "reason"), rows), err=True)


def require_some(count: int, failed: Sequence[InputError]) -> None:
    """Report the failures and exit with code 1 if no item could be encoded."""
    if count:
        return
    report(failed)
    typer.echo("error: nothing could be encoded", err=True)
    raise typer.Exit(1)


def as_documents(failed: Sequence[InputError]) -> list[dict[str, str]]:
    """The failed items with reasons and remedies, as a JSON document lists them."""
    return [{"item": error.source, "reason": error.fact, "remedy": error.remedy} for error in failed]
