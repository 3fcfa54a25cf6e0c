"""A report as text for a terminal, and as a Markdown page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors.causes import escape_unprintable

if TYPE_CHECKING:
    from .report import Figure, Report

SHOWN = 10  # rows of a table on a terminal


@dataclass(frozen=True, slots=True)
class _Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def text(report: Report) -> str:
    """Facts, figures, the weakest classes, the most frequent confusions, and reasons of what was left out."""
    lines = [f"{report.task} in {report.card.id}", *(f"  {fact}" for fact in _facts(report))]
    lines += [f"  {line}" for line in _reasons(report)]
    for table in (_figures(report), _classes(report), _confusions(report)):
        if table.rows:
            kept = len(table.rows) > SHOWN and table.title != "Figures"
            title = f"{table.title}, {SHOWN} of {len(table.rows)}" if kept else table.title
            shown = _Table(title, table.columns, table.rows[:SHOWN] if kept else table.rows)
            lines += ["", *([title] if table.title != "Figures" else []), *_aligned(shown)]
    return "\n".join(escape_unprintable(line) for line in lines)


def markdown(report: Report) -> str:
    """All that the report holds, as GitHub's and MyST's Markdown."""
    lines = [f"# {_cell(f'{report.task} in {report.card.id}')}", ""]
    lines += [f"- {_cell(fact)}" for fact in _facts(report)]
    lines.append(f"- fingerprint {report.card.fingerprint}")
    left_out = [(row.source, row.reason) for row in report.left_out]
    tables = (
        _figures(report),
        _classes(report),
        _confusions(report),
        _Table("Left out", ("what", "why"), left_out),
    )
    for table in tables:
        if table.rows:
            lines += ["", f"## {table.title}", "", *_piped(table)]
    return "\n".join(lines) + "\n"


def _facts(report: Report) -> Iterator[str]:
    for tower in report.card.towers:
        if tower.modality in report.modalities:
            yield f"{tower.modality}: {tower.name}"
    if report.source:
        yield f"data: {report.source}"
    counts = ", ".join(f"{count} {name}" for name, count in report.counts.items())
    yield f"measured: {counts}; {len(report.left_out)} left out; digest {report.digest[:16]}"
    sampling = report.sampling
    if sampling.sample is not None:
        yield f"sample of {sampling.sample}, seed {sampling.seed}"
    yield f"intervals: 95 %, {sampling.resamples} bootstrap resamples, seed {sampling.seed}"
    if report.templates:
        yield f"templates: {'; '.join(report.templates)}"
    yield from report.notes


def _reasons(report: Report) -> Iterator[str]:
    """How many were left out for each reason, and the first of them."""
    sources: dict[str, list[str]] = defaultdict(list)
    for row in report.left_out:
        sources[row.reason].append(row.source)
    for reason, found in sources.items():
        more = ", ..." if len(found) > 3 else ""
        yield f"left out: {len(found)}, {reason} ({', '.join(found[:3])}{more})"


def _figures(report: Report) -> _Table:
    columns = ["figure", "value", "95 % between", "chance"]
    constant = any(figure.constant is not None for figure in report.figures)
    rows = []
    for figure in report.figures:
        cells = [f"{figure.of} {figure.name}".strip(), _number(figure, figure.value), _between(figure)]
        cells.append(_number(figure, figure.chance))
        if constant:
            cells.append("" if figure.constant is None else _number(figure, figure.constant))
        rows.append(cells)
    return _Table("Figures", [*columns, "constant"] if constant else columns, rows)


def _classes(report: Report) -> _Table:
    weakest = sorted(report.classes, key=lambda found: (found.top1, -found.count, found.label))
    rows = [(found.label, str(found.count), f"{100 * found.top1:.1f} %") for found in weakest]
    return _Table("Classes, the weakest first", ("class", "items", "top-1"), rows)


def _confusions(report: Report) -> _Table:
    rows = [(found.label, found.taken_for, str(found.count)) for found in report.confusions]
    return _Table("Most confused", ("class", "taken for", "items"), rows)


def _number(figure: Figure, value: float) -> str:
    return f"{value:.1f}" if figure.rank else f"{100 * value:.1f} %"


def _between(figure: Figure) -> str:
    if figure.interval is None:
        return ""
    low, high = figure.interval
    return f"{low:.1f} and {high:.1f}" if figure.rank else f"{100 * low:.1f} and {100 * high:.1f} %"


def _aligned(table: _Table) -> Iterator[str]:
    rows = [tuple(escape_unprintable(cell) for cell in row) for row in (table.columns, *table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    numeric = [
        all(cell[:1].isdigit() or not cell for cell in column[1:]) for column in zip(*rows, strict=True)
    ]
    for row in rows:
        cells = zip(row, widths, numeric, strict=True)
        yield "  ".join(
            cell.rjust(width) if number else cell.ljust(width) for cell, width, number in cells
        ).rstrip()


def _piped(table: _Table) -> Iterator[str]:
    yield f"| {' | '.join(table.columns)} |"
    yield "|" + "---|" * len(table.columns)
    for row in table.rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"


def _cell(words: str) -> str:
    """Words as Markdown shows them; names of files and classes are untrusted, and none of them a mark."""
    return "".join(f"\\{mark}" if mark in r"\`*_{}[]<>#|~$&" else mark for mark in escape_unprintable(words))
