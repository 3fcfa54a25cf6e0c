"""The tables and lines of a report's page: figures, classes, confusions, and what was left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from .figures import ClassFigure, Confusion, Figure
from .origin import LeftOut
from .rendering import ReportTable

SHOWN = 10  # rows of a table of classes or confusions on a terminal


def figure_table(figures: Sequence[Figure]) -> ReportTable:
    """A row for each figure, with a column of constant answers where any figure has one."""
    columns = ["figure", "value", "95 % between", "chance"]
    constant = any(figure.constant is not None for figure in figures)
    rows = []
    for figure in figures:
        cells = [f"{figure.of} {figure.name}".strip(), _number(figure, figure.value), _between(figure)]
        cells.append(_number(figure, figure.chance))
        if constant:
            cells.append("" if figure.constant is None else _number(figure, figure.constant))
        rows.append(cells)
    return ReportTable("Figures", [*columns, "constant"] if constant else columns, rows, titled=False)


def class_table(classes: Sequence[ClassFigure]) -> ReportTable:
    """A row for each class, in order of accuracy from the lowest on."""
    weakest = sorted(classes, key=lambda each: (each.top1, -each.count, each.label))
    rows = [(each.label, str(each.count), f"{100 * each.top1:.1f} %") for each in weakest]
    return ReportTable("Classes, the weakest first", ("class", "items", "top-1"), rows, SHOWN)


def confusion_table(confusions: Sequence[Confusion]) -> ReportTable:
    """A row for each pair of classes that were confused, in the order given."""
    rows = [(each.label, each.taken_for, str(each.count)) for each in confusions]
    return ReportTable("Most confused", ("class", "taken for", "items"), rows, SHOWN)


def omission_table(left_out: Sequence[LeftOut]) -> ReportTable:
    """A row for each item that no figure counts, with the reason."""
    return ReportTable("Left out", ("what", "why"), [(each.source, each.reason) for each in left_out])


def omission_lines(left_out: Sequence[LeftOut]) -> Iterator[str]:
    """A line for each reason, with the number of items that it kept out and the first three of them."""
    sources: dict[str, list[str]] = defaultdict(list)
    for each in left_out:
        sources[each.reason].append(each.source)
    for reason, names in sources.items():
        more = ", ..." if len(names) > 3 else ""
        yield f"left out: {len(names)}, {reason} ({', '.join(names[:3])}{more})"


def _number(figure: Figure, value: float) -> str:
    return f"{value:.1f}" if figure.rank else f"{100 * value:.1f} %"


def _between(figure: Figure) -> str:
    if figure.interval is None:
        return ""
    low, high = figure.interval
    return f"{low:.1f} and {high:.1f}" if figure.rank else f"{100 * low:.1f} and {100 * high:.1f} %"
