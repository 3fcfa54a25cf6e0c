"""Files of named arrays, keys and facts, in the format that their suffix says.

`.safetensors` and `.npz` hold any arrays. `.parquet`, `.arrow` and `.feather` hold vectors as a table with
one row for each item, and need pyarrow. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .errors import InputError, MissingPackageError, MmencodeError
from .files import written_aside

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False, slots=True)
class Record:
    """What a file holds: arrays by name, one key for each row or None, and facts by name."""

    arrays: Mapping[str, Array]
    facts: Mapping[str, str]
    keys: tuple[str, ...] | None = None

    def array(self, name: str, dtype: type[np.generic]) -> Array:
        """An array that must be there and have this dtype; ValueError otherwise."""
        if name not in self.arrays:
            raise ValueError(f"its {name} are missing")
        found = self.arrays[name]
        if found.dtype != dtype:
            raise ValueError(f"its {name} are {found.dtype} instead of {np.dtype(dtype)}")
        return found

    def fact(self, name: str) -> str:
        """A fact that must be there; ValueError otherwise."""
        if name not in self.facts:
            raise ValueError(f"it doesn't say its {name}")
        return self.facts[name]


Write = Callable[[BinaryIO, Record], None]
Read = Callable[[str, str], Record]  # of a path and the format that the file must say it has
Formats = Mapping[str, tuple[Write, Read]]


def write(path: str | os.PathLike[str], record: Record, formats: Formats | None = None) -> None:
    """Write one of `formats`, all there are by default, as the suffix says; whole or not at all.

    Raises ValueError for another suffix and for keys that the format can't hold, MissingPackageError where
    the format needs a package, OSError where the file can't be written.
    """
    save, _ = _format(path, FORMATS if formats is None else formats)
    with written_aside(path) as aside, aside.open("wb") as file:
        save(file, record)


def read(path: str | os.PathLike[str], kind: str, formats: Formats | None = None) -> Record:
    """Read a file whose fact `format` is `kind`.

    Raises ValueError for a suffix that isn't among `formats`, MissingPackageError where the format needs a
    package, InputError for a file that is missing, damaged, or of another kind.
    """
    _, load = _format(path, FORMATS if formats is None else formats)
    with readable(path):
        return load(os.fspath(path), kind)


def require_format(path: str | os.PathLike[str]) -> None:
    """ValueError and MissingPackageError as `write` raises them, before there is anything to write."""
    _format(path, FORMATS)
    if Path(path).suffix.lower() in TABLES:
        _package("pyarrow")


@contextmanager
def readable(path: str | os.PathLike[str]) -> Iterator[None]:
    """Make an InputError, which names the file, of whatever a library raises on damaged content."""
    try:
        yield
    except MmencodeError:
        raise
    except Exception as cause:  # each library has errors of its own, and bad bytes meet most of them
        raise InputError(
            f"it can't be read: {str(cause).partition(chr(10))[0] or type(cause).__name__}",
            source=os.fspath(path),
            remedy="check the path; a damaged file must be copied or written again",
        ) from cause


def _format(path: str | os.PathLike[str], formats: Formats) -> tuple[Write, Read]:
    suffix = Path(path).suffix.lower()
    if suffix not in formats:
        raise ValueError(f"{os.fspath(path)} ends in {suffix!r}: make it one of {', '.join(formats)}")
    return formats[suffix]


def _require_kind(facts: Mapping[str, str], kind: str, source: str) -> None:
    if facts.get("format") != kind:
        raise InputError(
            f"it is no file of {kind}: its format is {facts.get('format')!r}",
            source=source,
            remedy="pass a file that the `save` of the same class, or `mmencode encode`, wrote",
        )


# Keys beside arrays: all their bytes in a row, and where each ends.


def _utf8(keys: Sequence[str], errors: str) -> list[bytes]:
    try:
        return [key.encode("utf-8", errors) for key in keys]
    except UnicodeEncodeError as cause:
        raise ValueError(
            f"the key {cause.object!r} isn't Unicode text, and this format holds no other: give another key"
            + (", or save as .safetensors or .npz, which hold any file name" if errors == "strict" else "")
        ) from cause


def _with_keys(record: Record) -> dict[str, Array]:
    arrays = {name: np.ascontiguousarray(array) for name, array in record.arrays.items()}
    if record.keys is not None:
        encoded = _utf8(record.keys, "surrogateescape")  # file names that are no UTF-8 keep their bytes
        arrays["keys"] = np.frombuffer(b"".join(encoded), np.uint8)
        arrays["key_ends"] = np.cumsum([len(key) for key in encoded], dtype=np.int64)
    return arrays


def _without_keys(arrays: dict[str, Array], facts: Mapping[str, str]) -> Record:
    if "keys" not in arrays:
        return Record(arrays, facts)
    found = Record(arrays, facts)
    content = found.array("keys", np.uint8).tobytes()
    bounds = [0, *found.array("key_ends", np.int64).tolist()]
    if bounds != sorted(bounds) or bounds[-1] != len(content):
        raise ValueError("its keys don't end where it says they do")
    keys = [content[start:end] for start, end in pairwise(bounds)]
    return Record(
        {name: array for name, array in arrays.items() if name not in ("keys", "key_ends")},
        facts,
        tuple(key.decode("utf-8", "surrogateescape") for key in keys),
    )


# Arrays by name


def _write_safetensors(file: BinaryIO, record: Record) -> None:
    from safetensors.numpy import save

    file.write(save(_with_keys(record), dict(record.facts)))


def _read_safetensors(source: str, kind: str) -> Record:
    from safetensors import safe_open

    with safe_open(source, framework="numpy") as file:
        facts = file.metadata() or {}
        _require_kind(facts, kind, source)
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    return _without_keys(arrays, facts)


def _write_npz(file: BinaryIO, record: Record) -> None:
    content: dict[str, Any] = {**_with_keys(record), "metadata": np.array(json.dumps(dict(record.facts)))}
    np.savez(file, **content)


def _read_npz(source: str, kind: str) -> Record:
    with open(source, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError("it is no archive of arrays")
        file.seek(0)
        with np.load(file, allow_pickle=False) as content:
            facts = json.loads(str(content["metadata"])) if "metadata" in content.files else {}
            _require_kind(facts, kind, source)
            arrays = {name: content[name] for name in content.files if name != "metadata"}
    return _without_keys(arrays, facts)


# Tables, one row for each item


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as cause:
        raise MissingPackageError(
            "Parquet and Arrow files need pyarrow, which isn't installed",
            remedy="pip install 'mmencode[arrow]'",
        ) from cause


def _table(record: Record) -> Any:
    """The record as a table: `key` string, `position` int64, `vector` fixed_size_list<float32>[dim].

    Without keys, the column `key` may be null, and is so in every row.
    """
    arrow = _package("pyarrow")
    vectors = record.arrays["vectors"]
    count, dim = vectors.shape
    fields = [
        arrow.field("key", arrow.string(), nullable=record.keys is None),
        arrow.field("position", arrow.int64(), nullable=False),
        arrow.field("vector", arrow.list_(arrow.float32(), dim), nullable=False),
    ]
    columns = [
        arrow.nulls(count, arrow.string())
        if record.keys is None
        else arrow.array(_utf8(record.keys, "strict"), arrow.string()),
        arrow.array(record.arrays["positions"], arrow.int64()),
        arrow.FixedSizeListArray.from_arrays(arrow.array(vectors.reshape(-1)), dim),
    ]
    return arrow.Table.from_arrays(columns, schema=arrow.schema(fields, metadata=dict(record.facts)))


def _facts(schema: Any) -> dict[str, str]:
    metadata = schema.metadata or {}
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in metadata.items()}


def _from_table(table: Any) -> Record:
    """The record in a table of `_table`; its arrays are copies, so that they can be written to."""
    table.validate(full=True)  # offsets and text are taken from the file as they are
    keys = table.column("key").to_pylist()
    if table.schema.field("key").nullable and not any(key is not None for key in keys):
        keys = None
    dim = table.schema.field("vector").type.list_size
    parts = [chunk.flatten() for chunk in table.column("vector").chunks]
    if table.column("vector").null_count or any(part.null_count for part in parts):
        raise ValueError("some of its vectors are missing")
    numbers = [np.zeros(0, np.float32), *(part.to_numpy() for part in parts)]
    return Record(
        {
            "vectors": np.concatenate(numbers).reshape(len(table), dim),
            "positions": np.array(table.column("position").to_numpy()),
        },
        _facts(table.schema),
        None if keys is None else tuple(keys),
    )


def _write_parquet(file: BinaryIO, record: Record) -> None:
    table = _table(record)
    _package("pyarrow.parquet").write_table(table, file, use_dictionary=False)  # hardly a value comes twice


def _read_parquet(source: str, kind: str) -> Record:
    _package("pyarrow")
    with open(source, "rb") as file:
        content = _package("pyarrow.parquet").ParquetFile(file)
        _require_kind(_facts(content.schema_arrow), kind, source)
        return _from_table(content.read())


def _write_arrow(file: BinaryIO, record: Record) -> None:
    table = _table(record)
    with _package("pyarrow").ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _read_arrow(source: str, kind: str) -> Record:
    ipc = _package("pyarrow").ipc
    with open(source, "rb") as file:
        content = ipc.open_file(file)
        _require_kind(_facts(content.schema), kind, source)
        return _from_table(content.read_all())


ARRAYS: Formats = {
    ".safetensors": (_write_safetensors, _read_safetensors),
    ".npz": (_write_npz, _read_npz),
}
TABLES: Formats = {
    ".parquet": (_write_parquet, _read_parquet),
    ".arrow": (_write_arrow, _read_arrow),
    ".feather": (_write_arrow, _read_arrow),
}
FORMATS: Formats = {**ARRAYS, **TABLES}
