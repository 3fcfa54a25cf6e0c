"""Tables and pages as text for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..errors.causes import escape_unprintable


@dataclass(frozen=True, slots=True)
class ReportTable:
    """Rows of cells under named columns.

    most       the number of rows that a terminal shows, None for all
    titled     whether a terminal shows the title above the table
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    most: int | None = None
    titled: bool = True


def plain_text(title: str, facts: Iterable[str], tables: Iterable[ReportTable]) -> str:
    """Lay out a title, indented facts, and tables with aligned columns; empty tables are left out."""
    lines = [title, *(f"  {fact}" for fact in facts)]
    for table in tables:
        if table.rows:
            lines += ["", *_align(table)]
    return "\n".join(escape_unprintable(line) for line in lines)


def markdown(title: str, facts: Iterable[str], tables: Iterable[ReportTable]) -> str:
    """Lay out a title, facts and whole tables in GitHub's and MyST's Markdown; empty tables are left out."""
    lines = [f"# {_markdown_cell(title)}", "", *(f"- {_markdown_cell(fact)}" for fact in facts)]
    for table in tables:
        if table.rows:
            lines += ["", f"## {table.title}", "", *_pipe(table)]
    return "\n".join(lines) + "\n"


def _align(table: ReportTable) -> Iterator[str]:
    """Lay out a table's title, columns and first rows; numbers are aligned to the right."""
    shown = table.rows[: table.most]
    if table.titled:
        hidden = len(shown) < len(table.rows)
        yield f"{table.title}, {len(shown)} of {len(table.rows)}" if hidden else table.title
    rows = [tuple(escape_unprintable(cell) for cell in row) for row in (table.columns, *shown)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    numeric = [
        all(cell[:1].isdigit() or not cell for cell in column[1:]) for column in zip(*rows, strict=True)
    ]
    for row in rows:
        cells = zip(row, widths, numeric, strict=True)
        yield "  ".join(
            cell.rjust(width) if number else cell.ljust(width) for cell, width, number in cells
        ).rstrip()


def _pipe(table: ReportTable) -> Iterator[str]:
    yield f"| {' | '.join(table.columns)} |"
    yield "|" + "---|" * len(table.columns)
    for row in table.rows:
        yield f"| {' | '.join(_markdown_cell(cell) for cell in row)} |"


def _markdown_cell(words: str) -> str:
    """Words with Markdown's marks escaped: names of files and classes are untrusted."""
    return "".join(f"\\{mark}" if mark in r"\`*_{}[]<>#|~$&" else mark for mark in escape_unprintable(words))
