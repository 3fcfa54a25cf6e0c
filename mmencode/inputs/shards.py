"""Parts of large tables and archives, read row by row; a bad row is its own error, and the others go on."""

from __future__ import annotations

import csv
import json
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from ..errors import Fault, InputError
from ..errors.causes import message_of
from ..plugins.packages import import_package
from .tables import TableRow, require_bounded

LONGEST = 2**24  # bytes of one line
_ROWS = 16  # rows of Parquet that are made at once
_TIMES, _SPARE = (
    64,
    2**28,
)  # a group of rows may unpack to so many times the file's size, and so many bytes more
Row = TableRow | InputError


def find_line(file: BinaryIO, start: int) -> int:
    """Find where the first line at or behind a byte begins, which is the end of the file where none does."""
    if start == 0:
        return 0
    file.seek(start - 1)
    while True:
        part = file.readline(LONGEST)
        if part.endswith(b"\n") or len(part) < LONGEST:
            return file.tell()


def read_lines(file: BinaryIO, start: int, stop: int, source: str) -> Iterator[tuple[int, Row]]:
    """Read the JSON objects of the lines between two bytes, each with the byte that it begins at."""
    file.seek(start)
    while (place := file.tell()) < stop:
        line = file.readline(LONGEST + 1)
        if not line:
            return
        if len(line) > LONGEST:
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST)
            yield place, _bad(source, place, f"has more than {LONGEST} bytes", "byte")
            continue
        if line.strip():
            yield place, _parse(line, place, source)


def _parse(line: bytes, place: int, source: str) -> Row:
    try:
        row = json.loads(line.removeprefix(b"\xef\xbb\xbf").decode("utf-8"))
    except (ValueError, RecursionError) as cause:
        return _bad(source, place, f"isn't JSON: {message_of(cause)}", "byte")
    return row if isinstance(row, dict) else _bad(source, place, "isn't a JSON object", "byte")


def count_groups(file: BinaryIO, size: int, source: str) -> list[int]:
    """Count the rows of each group of a Parquet file; InputError for another file, and for a bomb."""
    arrow, parquet = _import_parquet()
    try:
        with parquet.ParquetFile(file) as content:
            metadata = content.metadata
            require_bounded(metadata, size)
            return [metadata.row_group(place).num_rows for place in range(metadata.num_row_groups)]
    except (arrow.ArrowException, ValueError, OSError) as cause:
        raise _make_unreadable(source, cause) from cause


def read_group(file: BinaryIO, size: int, group: int, first: int, source: str) -> Iterator[tuple[int, Row]]:
    """Read the rows of one group of a Parquet file, each with its number in the file."""
    arrow, parquet = _import_parquet()
    left, number = _TIMES * size + _SPARE, first
    try:
        with parquet.ParquetFile(file) as content:
            for batch in content.iter_batches(_ROWS, row_groups=[group]):
                left -= batch.nbytes
                if left < 0:
                    raise ValueError("its rows unpack to far more than the file's size")
                for row in batch.to_pylist():
                    yield number, row
                    number += 1
    except (arrow.ArrowException, ValueError, OSError) as cause:
        raise _make_unreadable(source, cause) from cause


def read_csv(file: BinaryIO, source: str) -> Iterator[tuple[int, Row]]:
    """Read the rows of a CSV file below its header, with their numbers; InputError for another file."""
    reader = csv.reader(_decode_lines(file))
    try:
        names = next(reader, [])
        if twice := [name for place, name in enumerate(names) if name in names[:place]]:
            raise ValueError(f"two of its columns are called {twice[0]!r:.100}")
        for number, values in enumerate(row for row in reader if row):
            if len(values) != len(names):
                what = (
                    f"has {len(values)} values under {len(names)} names; one with a comma in it needs quotes"
                )
                yield number, _bad(source, number, what, "row")
            else:
                yield number, dict(zip(names, (value or None for value in values), strict=True))
    except (ValueError, csv.Error) as cause:
        raise _make_unreadable(source, cause) from cause


def read_archive(
    file: BinaryIO, endings: tuple[str, ...], most: int, source: str
) -> Iterator[tuple[str, bytes | InputError]]:
    """Read the files of a tar archive that have one of these endings, each with its sample's name.

    The name is that of the file up to the first dot behind its folder, as in WebDataset
    (https://github.com/webdataset/webdataset). Nothing is written to the disk. A file of more than `most`
    bytes is its own error; InputError for what is no archive.
    """
    try:
        with tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                folder, slash, name = member.name.rpartition("/")
                stem, dot, ending = name.partition(".")
                if not member.isfile() or not stem or f"{dot}{ending}".lower() not in endings:
                    continue
                key = f"{folder}{slash}{stem}"
                if member.size > most:
                    what = f"has {member.size} bytes, and at most {most} are read"
                    yield key, _bad(source, member.name, what, "file", fault="limit")
                    continue
                content = archive.extractfile(member)
                assert content is not None  # since it is a file
                yield key, content.read()
    except (tarfile.TarError, EOFError, OSError, ValueError) as cause:
        raise _make_unreadable(source, cause) from cause


def _decode_lines(file: BinaryIO) -> Iterator[str]:
    mark = b"\xef\xbb\xbf"
    while line := file.readline(LONGEST + 1):
        if len(line) > LONGEST:
            raise ValueError(f"a line has more than {LONGEST} bytes")
        yield line.removeprefix(mark).decode("utf-8")
        mark = b""


def _import_parquet() -> tuple[Any, Any]:
    need = "reading Parquet needs pyarrow", "pip install 'mmencode[arrow]'"
    return import_package("pyarrow", *need), import_package("pyarrow.parquet", *need)


def _bad(source: str, place: int | str, what: str, noun: str, fault: Fault = "content") -> InputError:
    return InputError(
        f"it {what}", source=f"{noun} {place} of {source}", remedy="correct it, or leave it out", fault=fault
    )


def _make_unreadable(source: str, cause: BaseException) -> InputError:
    return InputError(f"it can't be read: {message_of(cause)}", source=source, remedy="check the file")
