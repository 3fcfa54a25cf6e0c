"""Sources: what a place holds is divided into units, and a unit is read row by row."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..inputs import Limits
from ..inputs.fragments import Fragment, list_fragments, look_at_fragment, read_fragment
from ..inputs.listed import KEY
from ..inputs.shards import (
    describe_groups,
    find_csv_columns,
    find_line,
    find_line_columns,
    read_archive,
    read_csv,
    read_group,
    read_lines,
)
from ..inputs.tables import TableRow
from ..inputs.walking import endings_of
from ..plugins.modalities import names_files
from .columns import columns_read, require_columns, require_names
from .storage import TABLES, Remote, Storage, is_address, storage_of
from .units import File, Job, Unit, group_files

LANCE = ".lance"
_NAMES = 8  # of columns in a message


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of units: files in one on average, and bytes of JSON lines in each but the last of a file."""

    files: int = 1024
    bytes: int = 2**22


@dataclass(frozen=True, slots=True)
class Row:
    """An item of a unit with its key, or the error that it has instead; `place` counts the unit's rows."""

    place: int
    key: str
    item: Any
    error: InputError | None = None


def divide(source: str, modality: str, sizes: Sizes, *, column: str = "", key: str = "") -> list[Unit]:
    """Divide a source into units: a folder, a prefix, a pattern or a file, on this machine or elsewhere.

    Nothing is read but the ends of lines, the first rows, and what Parquet files and Lance datasets say of
    themselves. InputError for a source that isn't there, for one without a file that can be read, and for
    tables without the `column` of the items or the `key`, or of types that can't be either.
    """
    if source.rstrip("/").lower().endswith(LANCE):
        return _divide_dataset(source.rstrip("/"), modality, column, key)
    storage = storage_of(source)
    files = storage.find(source, modality)
    _require_apart(files, source)
    tables = [file for file in files if file.path.lower().endswith(TABLES)]
    items = [file for file in files if not file.path.lower().endswith(TABLES)]
    if not names_files(modality) and items:
        raise InputError(
            f"{modality} stands in tables, not in files such as {items[0].name!r:.200}",
            source=source,
            remedy=f"name tables or archives, which end in {', '.join(TABLES)}",
        )
    if not files:
        raise InputError(
            f"there is nothing of {modality} in it",
            source=source,
            remedy=f"files end in {' '.join((*endings_of(modality), *TABLES))}; look whether it is mounted",
            fault="access",
        )
    units = [Unit("files", group) for group in group_files(items, sizes.files)]
    for table in tables:
        units += _divide_table(storage, table, sizes, modality, column, key)
    return units


def read_unit(unit: Unit, job: Job, limits: Limits) -> Iterator[Row]:
    """Read the rows of a unit, in order; a row that can't be read, or has another's key, is its own error.

    Raises InputError where the unit as a whole can't be read, or was changed since the source was divided.
    """
    storage = storage_of(unit.files[0].path)
    seen: dict[str, int] = {}
    for place, (key, item) in enumerate(_read(storage, unit, job, limits)):
        first = seen.setdefault(key, place)
        if first != place:
            item = InputError(
                f"it has the key {key!r:.200}, which row {first} of the unit has",
                source=f"row {place} of {unit}",
                remedy="give each row a key of its own",
            )
        if isinstance(item, InputError):
            yield Row(place, key, None, item)
        else:
            yield Row(place, key, item)


def require_unchanged(unit: Unit) -> None:
    """Raise InputError where a file of a unit isn't the one any more that the source was divided by."""
    for file in unit.files:
        if unit.kind == "fragment":
            same = look_at_fragment(file.path, unit.group) == _fragment_of(unit)
        else:
            same = storage_of(file.path).look(file) == file
        if not same:
            raise InputError(
                "it was changed while it was read",
                source=file.path,
                remedy="run this again, which encodes it anew",
                fault="access",
            )


def require_there(unit: Unit) -> None:
    """Raise InputError where the first file of a unit can't be seen."""
    file = unit.files[0]
    if unit.kind == "fragment":
        look_at_fragment(file.path, unit.group)
    else:
        storage_of(file.path).look(file)


def _require_apart(files: Sequence[File], source: str) -> None:
    """Raise InputError for two files of one name, whose keys would be one."""
    seen: dict[str, str] = {}
    for file in files:
        other = seen.setdefault(file.name, file.path)
        if other != file.path:
            raise InputError(
                f"two of its files are called {file.name!r:.200}: {other:.200} and {file.path:.200}",
                source=source,
                remedy="rename one of them, or encode them into two outputs",
            )


def _divide_dataset(place: str, modality: str, column: str, key: str) -> list[Unit]:
    """Make a unit of each fragment of a Lance dataset."""
    fragments, columns = list_fragments(place)
    require_columns(columns, modality, column, key, place)
    if not fragments:
        raise InputError("it has no rows", source=place, remedy="name a dataset that has some")
    name = posixpath.basename(place.replace(os.sep, "/"))
    return [
        Unit("fragment", (File(place, name, each.size, each.mark),), group=each.number) for each in fragments
    ]


def _fragment_of(unit: Unit) -> Fragment:
    (file,) = unit.files
    return Fragment(unit.group, file.size, file.etag)


def _divide_table(
    storage: Storage, file: File, sizes: Sizes, modality: str, column: str, key: str
) -> Iterator[Unit]:
    asked = modality, column, key, file.path
    ending = posixpath.splitext(file.path.lower())[1]
    if ending == ".csv":  # whose values may hold ends of lines
        with storage.open(file.path) as content:
            names = find_csv_columns(content)
        if names is not None:
            require_names(names, *asked)
        yield Unit("table", (file,))
    elif ending == ".tar":
        yield Unit("tar", (file,))
    elif ending == ".parquet":
        with storage.open(file.path) as content:
            counts, columns = describe_groups(content, file.size, file.path)
        require_columns(columns, *asked)
        first = 0
        for group, count in enumerate(counts):
            yield Unit("rows", (file,), first, first + count, group)
            first += count
    else:
        start = 0
        with storage.open(file.path) as content:
            names = find_line_columns(content, file.path)
            if names is not None:
                require_names(names, *asked)
            while start < file.size:
                stop = min(file.size, find_line(content, min(file.size, start + sizes.bytes)))
                yield Unit("lines", (file,), start, stop)
                start = stop


def _read(storage: Storage, unit: Unit, job: Job, limits: Limits) -> Iterator[tuple[str, Any]]:
    if unit.kind == "files":
        for file in unit.files:
            try:
                yield file.name, storage.item(file, limits.bytes)
            except InputError as error:
                yield file.name, error
        return
    (file,) = unit.files
    columns = columns_read(job.modality, job.column, job.key)
    if unit.kind == "fragment":
        found = read_fragment(file.path, _fragment_of(unit), columns, file.path)
        yield from _read_rows(found, unit, job, storage, limits)
        return
    with storage.open(file.path) as content:
        if unit.kind == "tar":
            yield from _read_samples(read_archive(content, _endings(job), limits.bytes, file.path), job)
            return
        if unit.kind == "lines":
            rows = read_lines(content, unit.start, unit.stop, file.path)
        elif unit.kind == "rows":
            rows = read_group(content, file.size, unit.group, unit.start, columns, file.path)
        else:
            rows = read_csv(content, file.path)
        yield from _read_rows(rows, unit, job, storage, limits)


def _read_rows(
    rows: Iterator[tuple[int, TableRow | InputError]], unit: Unit, job: Job, storage: Storage, limits: Limits
) -> Iterator[tuple[str, Any]]:
    """Read the key and the item, or the error, of each row of a table."""
    (file,) = unit.files
    part = f"{unit.group}." if unit.kind == "fragment" else ""
    for number, row in rows:
        name = f"{file.name}#{part}{number}"
        if isinstance(row, InputError):
            yield name, row
            continue
        try:
            yield _key_of(row, job, name, file), _item_of(row, job, storage, file, number, limits)
        except InputError as error:
            yield name, error


def _endings(job: Job) -> tuple[str, ...]:
    """The endings of the files of an archive that are items."""
    if job.column:
        return (f".{job.column.lstrip('.').lower()}",)
    return endings_of(job.modality) or (".txt",)


def _read_samples(samples: Iterator[tuple[str, bytes | InputError]], job: Job) -> Iterator[tuple[str, Any]]:
    for key, content in samples:
        if isinstance(content, InputError) or names_files(job.modality):
            yield key, content
            continue
        try:
            yield key, content.decode("utf-8")
        except UnicodeDecodeError:
            yield key, InputError("it isn't UTF-8", source=key, remedy="save it as UTF-8")


def _key_of(row: Mapping[str, Any], job: Job, name: str, file: File) -> str:
    """The key of a row: that of its column, or its place in the table."""
    if not job.key and row.get(KEY) is None:
        return name
    key = row.get(job.key or KEY)
    if (isinstance(key, str) and key) or (type(key) is int):
        return str(key)
    raise InputError(
        f"it has {type(key).__name__} in the column {job.key or KEY!r:.100}, which is no key",
        source=f"{name} of {file.path}",
        remedy="make it a text or a whole number",
    )


def _item_of(
    row: Mapping[str, Any], job: Job, storage: Storage, file: File, number: int, limits: Limits
) -> Any:
    """The item of a row: a text, the bytes of a file, or a path, which is relative to the table."""
    column = job.column or job.modality
    if column not in row:
        there = ", ".join(list(map(str, row))[:_NAMES]) or "none"
        raise InputError(
            f"it has no column {column!r:.100}; there are {there:.300}",
            source=f"row {number} of {file.path}",
            remedy="name the column with the items",
        )
    value = row[column]
    if isinstance(value, dict) and "bytes" in value:  # as Hugging Face's datasets store files
        value = value["bytes"] if value["bytes"] is not None else value.get("path")
    if isinstance(value, str) and names_files(job.modality):
        return _file_item(value, storage, file, limits)
    if isinstance(value, str | bytes):
        return value
    raise InputError(
        f"it has {type(value).__name__} in the column {column!r:.100}, which is no item of {job.modality}",
        source=f"row {number} of {file.path}",
        remedy="make it a text, the path of a file, or its bytes",
    )


def _file_item(path: str, storage: Storage, table: File, limits: Limits) -> Any:
    if is_address(path):
        raise InputError(
            "it is an address, and tables name files beside them",
            source=path,
            remedy="fetch the files first, or divide the place where they lie",
        )
    if isinstance(storage, Remote):
        return storage.item(File(storage.beside(table.path, path), path, 0, ""), limits.bytes)
    return os.path.join(os.path.dirname(table.path), path)


def total_bytes(units: Sequence[Unit]) -> int:
    """Count the bytes of all files of units, each once."""
    return sum({file.path: file.size for unit in units for file in unit.files}.values())
