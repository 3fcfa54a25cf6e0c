"""How results are printed: tables on a terminal, tab-separated lines when piped, JSON when asked for.

Standard output is for results alone: while a command runs, what anything else prints goes to standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TextIO

import typer
from typer.core import TyperCommand

from ..errors.causes import escape_unprintable
from ..plugins.prints import Aside, print_aside


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of words under a title; the title is printed only where people look, or among several tables.

    `numbers` are the columns that are aligned to the right.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[str] = field(default=())


class Command(TyperCommand):
    """A command whose results alone reach standard output, whatever plugins and libraries print."""

    def invoke(self, ctx: Any) -> Any:
        """Run it."""
        with print_aside():
            return super().invoke(ctx)


def results() -> TextIO:
    """The real standard output."""
    return sys.stdout.kept if isinstance(sys.stdout, Aside) else sys.stdout


def say(text: str) -> None:
    """Print a result that has its form already."""
    typer.echo(text, file=results())


def table(content: Table, *, err: bool = False, titled: bool = False) -> None:
    """Print a table; `titled` puts its title above it when piped, too."""
    stream = sys.stderr if err else results()
    if is_terminal(stream):
        _draw(content, stream)
        return
    if titled:
        typer.echo(f"# {shown(content.title)}", file=stream)
    for row in (content.columns, *content.rows):
        typer.echo("\t".join(shown(word) for word in row), file=stream)


def document(content: Any) -> None:
    """Print one JSON document, in ASCII, which every stream can hold."""
    say(json.dumps(content, indent=2))


def text(content: object) -> None:
    """Print what reads as text of several lines: a card, a report."""
    say("\n".join(map(shown, str(content).split("\n"))))


def note(text: str) -> None:
    """Say something beside the results, on standard error."""
    typer.echo(shown(text), err=True)


def score(value: float) -> str:
    """A cosine similarity as it is printed; JSON has all its digits."""
    return f"{value:.3f}"


def shown(text: str) -> str:
    """The text with control characters, tabs and lone surrogates escaped.

    File names are untrusted: they may hold line ends or a terminal's escape sequences.
    """
    return escape_unprintable(text)


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody is looking."""
    return stream.isatty()


def _draw(content: Table, stream: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    def plain(word: str) -> Text:
        return Text(shown(word))  # which, unlike a string, is no markup

    drawn = Drawn(title=plain(content.title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in content.columns:
        justify: Literal["left", "right"] = "right" if column in content.numbers else "left"
        drawn.add_column(plain(column), justify=justify, overflow="fold")
    for row in content.rows:
        drawn.add_row(*map(plain, row))
    Console(file=stream, highlight=False).print(drawn)
