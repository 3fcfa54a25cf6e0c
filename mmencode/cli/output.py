"""Print results as tables on a terminal, as tab-separated lines when piped, or as JSON.

Only results reach standard output: while a command runs, anything that other code prints goes to standard
error.
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
from ..plugins.prints import RedirectedOutput, redirect_output


@dataclass(frozen=True, slots=True)
class Table:
    """A title, the names of the columns, and rows with one text for each column.

    `numbers` names the columns that a terminal aligns to the right. Piped output omits the title of a table
    that stands alone.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[str] = field(default=())


class QuietCommand(TyperCommand):
    """A command that sends to standard error whatever plugins and libraries print while it runs."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command with standard output kept for its results."""
        with redirect_output():
            return super().invoke(ctx)


def results() -> TextIO:
    """The real standard output, also while a command runs and `sys.stdout` stands for standard error."""
    return sys.stdout.kept if isinstance(sys.stdout, RedirectedOutput) else sys.stdout


def say(text: str) -> None:
    """Print a result on standard output as it is, without escaping anything in it."""
    typer.echo(text, file=results())


def table(content: Table, *, err: bool = False, titled: bool = False) -> None:
    """Print a table on standard output, or on standard error with `err`.

    `titled` puts the title above the table in piped output, too.
    """
    stream = sys.stderr if err else results()
    if is_terminal(stream):
        _draw(content, stream)
        return
    if titled:
        typer.echo(f"# {escape_unprintable(content.title)}", file=stream)
    for row in (content.columns, *content.rows):
        typer.echo("\t".join(escape_unprintable(word) for word in row), file=stream)


def document(content: Any) -> None:
    """Print one JSON document, in ASCII, which a stream of any encoding can hold."""
    say(json.dumps(content, indent=2))


def text(content: object) -> None:
    """Print the `str` of a card or a report, with control characters escaped within each line."""
    say("\n".join(map(escape_unprintable, str(content).split("\n"))))


def note(text: str) -> None:
    """Print a message on standard error, beside the results."""
    typer.echo(escape_unprintable(text), err=True)


def score(value: float) -> str:
    """A cosine similarity with the three digits that tables show; JSON documents have all digits."""
    return f"{value:.3f}"


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream leads to a terminal rather than to a file or a pipe."""
    return stream.isatty()


def _draw(content: Table, stream: TextIO) -> None:
    """Draw a table in columns as wide as the terminal allows."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    def plain(word: str) -> Text:
        return Text(escape_unprintable(word))  # which, unlike a string, is no markup

    drawn = Drawn(title=plain(content.title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in content.columns:
        justify: Literal["left", "right"] = "right" if column in content.numbers else "left"
        drawn.add_column(plain(column), justify=justify, overflow="fold")
    for row in content.rows:
        drawn.add_row(*map(plain, row))
    Console(file=stream, highlight=False).print(drawn)
