"""The media that the studies measure on: a folder with photos/ and sounds/, each with its labels.csv."""

from __future__ import annotations

import csv
from pathlib import Path

Labelled = tuple[list[Path], list[str]]


def labelled(folder: Path, *columns: str) -> Labelled:
    """The files of a folder, and the words that the first of these columns with any has in its labels.csv."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        found = [(row["file"], next(filter(None, map(row.get, columns)), "")) for row in csv.DictReader(file)]
    return [folder / name for name, words in found if words], [words for _, words in found if words]
