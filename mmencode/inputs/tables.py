"""Two columns of a file as pairs of items: CSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingPackageError

FILES = ("image", "audio")  # modalities whose items a table holds as paths
Pair = tuple[Any, Any]
Row = dict[str, Any]


def read_pairs(path: str | os.PathLike[str], columns: tuple[str, str] | None = None) -> Iterator[Pair]:
    """The rows of two columns, by default the first two, one after another; values as they are.

    The file's ending says what it is: .csv, .jsonl or .parquet. Raises ValueError for another ending; while
    it is read InputError, with the row's number from 0, where a row lacks a value, and MissingPackageError
    without pyarrow.
    """
    return _pairs(read_rows(path), Path(path), columns)


def read_rows(path: str | os.PathLike[str]) -> Iterator[Row]:
    """The rows of a table, one after another, by column; values as they are, some of which may be empty.

    Raises as `read_pairs`, but for values that a row lacks.
    """
    source = Path(path)
    reader = _READERS.get(source.suffix.lower())
    if reader is None:
        raise ValueError(f"{source} is no table that can be read: make it one of {', '.join(_READERS)}")
    return _rows(reader, source)


def located(item: Any, modality: str, folder: Path) -> Any:
    """An item of a table in this folder: the path of a file is relative to it."""
    if modality in FILES and isinstance(item, str) and "://" not in item:  # of a URL the reader says more
        return folder / item
    return item


def _rows(reader: Callable[[Path], Iterator[Row]], source: Path) -> Iterator[Row]:
    try:
        yield from reader(source)
    except (OSError, UnicodeDecodeError, csv.Error) as cause:
        raise InputError(f"it can't be read: {cause}", source=str(source), remedy="check the file") from cause


def _pairs(rows: Iterator[Row], source: Path, columns: tuple[str, str] | None) -> Iterator[Pair]:
    for number, row in enumerate(rows):
        columns = columns or _first_two(row, source)
        for name in columns:
            if row.get(name) in (None, ""):
                raise _bad_row(source, number, f"has no {name!r}, of {', '.join(row)}")
        yield row[columns[0]], row[columns[1]]


def _first_two(row: Row, source: Path) -> tuple[str, str]:
    names = list(row)
    if len(names) < 2:
        raise InputError(
            f"it has the columns {names}, and pairs need two", source=str(source), remedy="add the other one"
        )
    return names[0], names[1]


def _bad_row(source: Path, number: int, what: str) -> InputError:
    return InputError(
        f"row {number} {what}",
        source=str(source),
        remedy="correct the row, or leave it out; rows are counted from 0",
        index=number,
    )


def _csv(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.DictReader(file)):
            if None in row:  # where csv puts what is too much
                what = "has more values than the header has names; one with a comma in it needs quotes"
                raise _bad_row(path, number, what)
            yield row


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(line for line in file if line.strip()):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as cause:
                raise _bad_row(path, number, f"is no JSON: {cause}") from cause
            if not isinstance(row, dict):
                raise _bad_row(path, number, "is no JSON object")
            yield row


def _parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow.parquet as parquet
        from pyarrow import ArrowException
    except ImportError as cause:
        raise MissingPackageError(
            "reading Parquet needs pyarrow", remedy="pip install 'mmencode[arrow]'"
        ) from cause
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except ArrowException as cause:
        raise InputError(f"it can't be read: {cause}", source=str(path), remedy="check the file") from cause


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
