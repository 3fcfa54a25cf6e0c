"""Tables in files (CSV, JSON lines, Parquet) are read row by row, whole or as pairs of two columns."""

from __future__ import annotations

import codecs
import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .._atomic import open_regular, size_of
from ..errors import InputError, MmencodeError
from ..errors.causes import fault_of, message_of
from ..plugins.modalities import names_files
from ..plugins.packages import import_package

_LONGEST = 2**24  # bytes of one line
_BATCH = 16  # rows of Parquet that are made at once
_ROWS = 16  # rows of Parquet for each byte of the file, besides 2^16 that any file may have
# A Parquet file may unpack to so many times its size, and so many bytes more: by its metadata, and in all.
_TIMES, _PART, _SPARE = 64, 2**26, 2**28
ItemPair = tuple[Any, Any]
TableRow = dict[str, Any]


def read_pairs(path: str | os.PathLike[str], columns: tuple[str, str] | None = None) -> Iterator[ItemPair]:
    """Read two columns of a table, by default the first two, as an iterator of pairs.

    The file's ending says its format: .csv, .jsonl or .parquet. Raises ValueError for another ending. The
    iterator raises InputError, with the row's number from 0, where a row lacks one of the values, and
    MissingPackageError for Parquet without pyarrow.
    """
    return _pairs(read_rows(path), Path(path), columns)


def read_rows(path: str | os.PathLike[str]) -> Iterator[TableRow]:
    """Read the rows of a table as an iterator of dicts by column name; values may be empty.

    Raises the errors of `read_pairs`, except for missing values.
    """
    source = Path(path)
    reader = _READERS.get(source.suffix.lower())
    if reader is None:
        raise ValueError(
            f"{source} is no table that can be read: its ending must be one of {', '.join(_READERS)}"
        )
    return _rows(reader, source)


def item_in_folder(item: Any, modality: str, folder: Path) -> Any:
    """An item of a table; the path of a picture or another file is relative to the table's folder."""
    if names_files(modality) and isinstance(item, str) and "://" not in item:  # the reader refuses a URL
        return folder / item
    return item


def _rows(reader: Callable[[Path], Iterator[TableRow]], source: Path) -> Iterator[TableRow]:
    try:
        yield from reader(source)
    except MmencodeError:
        raise
    except (OSError, ValueError, csv.Error) as cause:
        raise InputError(
            f"it can't be read: {message_of(cause)}",
            source=str(source),
            remedy="check the file",
            fault=fault_of(cause, "content"),
        ) from cause


def _pairs(rows: Iterator[TableRow], source: Path, columns: tuple[str, str] | None) -> Iterator[ItemPair]:
    for number, row in enumerate(rows):
        columns = columns or _first_two(row, source)
        for name in columns:
            if row.get(name) in (None, ""):
                raise _bad_row(source, number, f"has no {name!r}, of {', '.join(row)}")
        yield row[columns[0]], row[columns[1]]


def _first_two(row: TableRow, source: Path) -> tuple[str, str]:
    names = list(row)
    if len(names) < 2:
        raise InputError(
            f"it has the columns {names}, and pairs need two",
            source=str(source),
            remedy="add the missing column",
        )
    return names[0], names[1]


def _bad_row(source: Path, number: int, what: str) -> InputError:
    return InputError(
        f"row {number} {what}",
        source=str(source),
        remedy="correct the row, or leave it out; rows are counted from 0",
        index=number,
    )


def _csv(path: Path) -> Iterator[TableRow]:
    reader = csv.DictReader(_lines(path))
    names = reader.fieldnames or []
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise ValueError(f"two of its columns are called {twice[0]!r:.100}")
    for number, row in enumerate(reader):
        if None in row:  # where csv puts surplus values
            what = "has more values than the header has names; one with a comma in it needs quotes"
            raise _bad_row(path, number, what)
        yield row


def _jsonl(path: Path) -> Iterator[TableRow]:
    for number, line in enumerate(line for line in _lines(path) if line.strip()):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as cause:
            raise _bad_row(path, number, f"isn't JSON: {message_of(cause)}") from cause
        if not isinstance(row, dict):
            raise _bad_row(path, number, "isn't a JSON object")
        yield row


def _lines(path: Path) -> Iterator[str]:
    r"""Yield the lines of a UTF-8 file, each with its end, which is \n or \r\n and nothing else."""
    with open_regular(path) as file:
        mark = codecs.BOM_UTF8
        while line := file.readline(_LONGEST + 1):
            if len(line) > _LONGEST:
                raise ValueError(f"a line has more than {_LONGEST} bytes: put each row on a line of its own")
            yield line.removeprefix(mark).decode("utf-8")
            mark = b""


def _parquet(path: Path) -> Iterator[TableRow]:
    need = "reading Parquet needs pyarrow", "pip install 'mmencode[arrow]'"
    arrow, parquet = import_package("pyarrow", *need), import_package("pyarrow.parquet", *need)
    try:
        with open_regular(path) as file, parquet.ParquetFile(file) as content:
            size = size_of(file)
            require_bounded(content.metadata, size)
            left = _TIMES * size + _SPARE
            for batch in content.iter_batches(_BATCH):
                left -= batch.nbytes
                if left < 0:
                    raise ValueError(
                        f"its rows unpack to more than {_TIMES * size + _SPARE} bytes, in a file of {size}"
                    )
                yield from batch.to_pylist()
    except arrow.ArrowException as cause:
        raise InputError(
            f"it can't be read: {message_of(cause)}", source=str(path), remedy="check the file"
        ) from cause


def require_bounded(metadata: Any, size: int) -> None:
    """Raise ValueError for a Parquet bomb: run-length encoding makes any number of rows of a few bytes."""
    if metadata.num_rows > _ROWS * size + 2**16:
        raise ValueError(f"its metadata claims {metadata.num_rows} rows, in a file of {size} bytes")
    # Column metadata isn't asked for: with some damaged files pyarrow aborts the process there.
    unpacked = sum(metadata.row_group(place).total_byte_size for place in range(metadata.num_row_groups))
    if unpacked > _TIMES * size + _PART:
        raise ValueError(f"its metadata claims {unpacked} bytes unpacked, in a file of {size}")


_READERS: dict[str, Callable[[Path], Iterator[TableRow]]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
