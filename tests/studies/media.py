"""The media that the studies measure on: a folder with photos/ and sounds/, each with its labels.csv."""

from __future__ import annotations

import csv
from pathlib import Path

Labelled = tuple[list[Path], list[str]]


def labelled(folder: Path, column: str) -> Labelled:
    """The files of a folder, and the words that a column of its labels.csv has for them."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row[column]]
    return [folder / row["file"] for row in rows], [row[column] for row in rows]
