"""Files of named arrays, keys and facts, in the format that their suffix says.

`.safetensors` and `.npz` hold any arrays. `.parquet`, `.arrow` and `.feather` hold vectors as a table with
one row for each item, and need pyarrow. Nothing is ever unpickled, and no file takes many times its own size
of memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from ..._atomic import file_aside, open_regular
from .arrays import read_npz, read_safetensors, write_npz, write_safetensors
from .record import Array as Array
from .record import Record as Record
from .record import errors_from_text as errors_from_text
from .record import errors_to_text as errors_to_text
from .record import readable as readable
from .tables import package, read_arrow, read_parquet, write_arrow, write_parquet

Write = Callable[[BinaryIO, Record], None]
Read = Callable[[BinaryIO, str, str], Record]  # of a file, its path, and the format that it must say it has
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
    """Write one of `formats`, all there are by default, as the suffix says; whole or not at all.

    Raises ValueError for another suffix and for keys that the format can't hold, MissingPackageError where
    the format needs a package, OSError where the file can't be written.
    """
    save, _ = _format(path, formats)
    with file_aside(path) as aside, aside.open("wb") as file:
        save(file, record)


def read(path: str | os.PathLike[str], kind: str, formats: Formats = FORMATS) -> Record:
    """Read a regular file whose fact `format` is `kind`.

    Raises ValueError for a suffix that isn't among `formats`, MissingPackageError where the format needs a
    package, InputError for a file that is missing, damaged, of another kind, or a pipe or a device.
    """
    _, load = _format(path, formats)
    with readable(path), open_regular(path) as file:
        return load(file, os.fspath(path), kind)


def require_format(path: str | os.PathLike[str]) -> None:
    """ValueError and MissingPackageError as `write` raises them, before there is anything to write."""
    _format(path, FORMATS)


def _format(path: str | os.PathLike[str], formats: Formats) -> tuple[Write, Read]:
    suffix = Path(path).suffix.lower()
    if suffix not in formats:
        raise ValueError(f"{os.fspath(path)} ends in {suffix!r}: make it one of {', '.join(formats)}")
    if suffix in TABLES:
        package("pyarrow")
    return formats[suffix]
