"""Files of named arrays, keys and facts, in the format that their suffix says.

`.safetensors` and `.npz` hold any arrays. `.parquet`, `.arrow` and `.feather` hold vectors as a table with
one row for each item, and need pyarrow. Nothing is ever unpickled, and no file takes memory of many times its
own size.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from ..._atomic import file_aside, open_regular
from ..array_types import Array as Array
from .arrays import read_npz, read_safetensors, write_npz, write_safetensors
from .record import Record as Record
from .record import errors_from_text as errors_from_text
from .record import errors_to_text as errors_to_text
from .record import readable as readable
from .record import towers_to_facts as towers_to_facts
from .record import widths_to_facts as widths_to_facts
from .tables import import_pyarrow, read_arrow, read_parquet, write_arrow, write_parquet
from .tables import items_table_of as items_table_of
from .tables import table_of as table_of

Write = Callable[[BinaryIO, Record], None]
Read = Callable[[BinaryIO, str, str], Record]  # takes a file, its path, and the format that it must declare
Formats = Mapping[str, tuple[Write, Read]]

ARRAYS: Formats = {
    ".safetensors": (write_safetensors, read_safetensors),
    ".npz": (write_npz, read_npz),
}
TABLES: Formats = {
    ".parquet": (write_parquet, read_parquet),
    ".arrow": (write_arrow, read_arrow),
    ".feather": (write_arrow, read_arrow),
}
FORMATS: Formats = {**ARRAYS, **TABLES}


def write(path: str | os.PathLike[str], record: Record, formats: Formats = FORMATS) -> None:
    """Write a record in that of the formats which the suffix says; the file appears whole or not at all.

    Raises ValueError for another suffix and for keys that the format can't hold, MissingPackageError where
    the format needs a package, OSError where the file can't be written.
    """
    save, _ = _find_format(path, formats)
    with file_aside(path) as aside, aside.open("wb") as file:
        save(file, record)


def read(path: str | os.PathLike[str], kind: str, formats: Formats = FORMATS) -> Record:
    """Read the record in a regular file, whose fact `format` must be `kind`.

    Raises ValueError for a suffix that isn't among `formats`, MissingPackageError where the format needs a
    package, InputError for a file that is missing, damaged, of another kind, or a pipe or a device.
    """
    _, load = _find_format(path, formats)
    with readable(path), open_regular(path) as file:
        return load(file, os.fspath(path), kind)


def require_format(path: str | os.PathLike[str]) -> None:
    """Raise the ValueError or MissingPackageError that `write` would raise, before anything is encoded."""
    _find_format(path, FORMATS)


def _find_format(path: str | os.PathLike[str], formats: Formats) -> tuple[Write, Read]:
    suffix = Path(path).suffix.lower()
    if suffix not in formats:
        raise ValueError(f"{os.fspath(path)} ends in {suffix!r}: make it one of {', '.join(formats)}")
    if suffix in TABLES:
        import_pyarrow("pyarrow")
    return formats[suffix]
