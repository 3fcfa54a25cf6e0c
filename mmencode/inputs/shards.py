"""Parts of large tables and archives, read row by row; a bad row is its own error, and the others go on."""

from __future__ import annotations

import csv
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from ..errors import Fault, InputError
from ..errors.causes import message_of
from ..plugins.packages import import_package
from .tables import TableRow, require_bounded

LONGEST = 2**24  # bytes of one line
_ROWS = 16  # rows of Parquet that are made at once
TIMES, SPARE = 64, 2**28  # rows may unpack to so many times their file's size, and so many bytes more
_SHOWN_ROWS = 1024  # rows of JSON lines whose columns are looked at
Row = TableRow | InputError


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its name, its type in words, and whether it may hold texts, bytes or keys."""

    name: str
    type: str
    texts: bool
    bytes: bool
    keys: bool


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


def find_line_columns(file: BinaryIO, source: str) -> list[str] | None:
    """Find the names that the first rows of JSON lines have; None where no row can be read."""
    names: dict[str, None] | None = None
    for count, (_, row) in enumerate(read_lines(file, 0, LONGEST, source)):
        if isinstance(row, dict):
            names = {**(names or {}), **dict.fromkeys(map(str, row))}
        if count >= _SHOWN_ROWS:
            break
    return None if names is None else list(names)


def find_csv_columns(file: BinaryIO) -> list[str] | None:
    """Find the names in the header of a CSV file; None where it can't be read."""
    try:
        return next(csv.reader(_decode_lines(file)), None)
    except (ValueError, csv.Error):
        return None


def columns_of(schema: Any) -> list[Column]:
    """Describe the columns of a schema of Arrow."""
    return [_column_of(field) for field in schema]


def _column_of(field: Any) -> Column:
    arrow, _ = _import_parquet()
    types, kind = arrow.types, field.type
    if types.is_dictionary(kind):
        kind = kind.value_type
    texts = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    packed = types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
    packed = packed or types.is_fixed_size_binary(kind)
    if types.is_struct(kind):  # as Hugging Face's datasets store files
        packed = any(part.name == "bytes" for part in kind)
    return Column(field.name, f"{field.type!s:.80}", texts, packed, texts or types.is_integer(kind))


def describe_groups(file: BinaryIO, size: int, source: str) -> tuple[list[int], list[Column]]:
    """Count the rows of each group of a Parquet file, and describe its columns.

    InputError for another file, and for a bomb.
    """
    arrow, parquet = _import_parquet()
    try:
        with parquet.ParquetFile(file) as content:
            metadata = content.metadata
            require_bounded(metadata, size)
            counts = [metadata.row_group(place).num_rows for place in range(metadata.num_row_groups)]
            return counts, columns_of(content.schema_arrow)
    except (arrow.ArrowException, ValueError, OSError) as cause:
        raise _make_unreadable(source, cause) from cause


def read_group(
    file: BinaryIO, size: int, group: int, first: int, columns: Sequence[str], source: str
) -> Iterator[tuple[int, Row]]:
    """Read these columns of the rows of one group of a Parquet file, each with its number in the file."""
    arrow, parquet = _import_parquet()
    left, number = TIMES * size + SPARE, first
    try:
        with parquet.ParquetFile(file) as content:
            names = [name for name in dict.fromkeys(columns) if name in content.schema_arrow.names]
            for batch in content.iter_batches(_ROWS, row_groups=[group], columns=names):
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
    if isinstance(cause, InputError):  # of the storage that the file is read from
        return cause
    return InputError(f"it can't be read: {message_of(cause)}", source=source, remedy="check the file")
