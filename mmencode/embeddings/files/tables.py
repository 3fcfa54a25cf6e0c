"""Tables with one row for each item: `.parquet`, and `.arrow` or `.feather`, by pyarrow."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

import numpy as np

from ..._atomic import size_of
from ...plugins.packages import import_package
from ..surrogates import escape_surrogates, unescape_surrogates
from .record import Record, require_bounded, require_kind

_COLUMNS = ("key", "position", "vector")
_MAGIC = 8  # bytes before the first message of a file
_ROW = 16  # bytes of a row beside its vector: a position, and where its key ends


def package(name: str) -> Any:
    """The package pyarrow, or a part of it; MissingPackageError without it."""
    return import_package(name, "Parquet and Arrow files need pyarrow", "pip install 'mmencode[arrow]'")


def _table(record: Record) -> Any:
    """The record as a table: `key` string, `position` int64, `vector` fixed_size_list<float32>[dim].

    Without keys, the column `key` may be null, and is so in every row. Names that aren't UTF-8 are escaped.
    """
    arrow = package("pyarrow")
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
        else arrow.array([escape_surrogates(key) for key in record.keys], arrow.string()),
        arrow.array(record.arrays["positions"], arrow.int64()),
        arrow.FixedSizeListArray.from_arrays(arrow.array(vectors.reshape(-1)), dim),
    ]
    return arrow.Table.from_arrays(columns, schema=arrow.schema(fields, metadata=dict(record.facts)))


def _facts(schema: Any) -> dict[str, str]:
    metadata = schema.metadata or {}
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in metadata.items()}


def _require_schema(schema: Any, kind: str, source: str) -> int:
    """The width of the vectors; errors for a file of another kind, and for columns of other types."""
    types = package("pyarrow").types
    require_kind(_facts(schema), kind, source)
    for name in _COLUMNS:
        if schema.get_field_index(name) < 0:
            raise ValueError(f"it has no one column {name!r}")
    key, vector = schema.field("key").type, schema.field("vector").type
    key = key.value_type if types.is_dictionary(key) else key
    if not (types.is_string(key) or types.is_large_string(key)):
        raise ValueError(f"its keys are {key}, which is no text")
    if not types.is_fixed_size_list(vector) or not types.is_float32(vector.value_type):
        raise ValueError(f"its vectors are {vector!s:.100}, and should be lists of float32")
    return int(vector.list_size)


def _from_table(table: Any) -> Record:
    """The record in a table of `_table`; its arrays are copies, so that they can be written to."""
    table.validate(full=True)  # offsets and text are taken from the file as they are
    words = [word for chunk in table.column("key").chunks for word in _words(chunk)]
    keys = [word for word in words if word is not None]
    unnamed = table.schema.field("key").nullable and not keys
    if len(keys) < len(words) and not unnamed:
        raise ValueError("some of its keys are missing")
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
        None if unnamed else tuple(unescape_surrogates(key) for key in keys),
    )


def unpacked(metadata: Any) -> int:
    """The bytes that the groups of rows of a Parquet file say that they unpack to.

    Its columns are left alone: of some damaged ones, pyarrow ends the process when it is asked about them.
    """
    return sum(metadata.row_group(place).total_byte_size for place in range(metadata.num_row_groups))


def _words(column: Any) -> list[str | None]:
    """The words of a column; of one with a dictionary each is made once, however often it comes."""
    if not package("pyarrow").types.is_dictionary(column.type):
        found: list[str | None] = column.to_pylist()
        return found
    known = column.dictionary.to_pylist()
    return [None if place is None else known[place] for place in column.indices.to_pylist()]


def write_parquet(file: BinaryIO, record: Record) -> None:
    """As Parquet, without dictionaries: hardly a value comes twice."""
    table = _table(record)
    package("pyarrow.parquet").write_table(table, file, use_dictionary=False)


def read_parquet(file: BinaryIO, source: str, kind: str) -> Record:
    """What `write_parquet` wrote.

    Runs and dictionaries make millions of rows of a few bytes: so what the file says that it holds is
    compared with its size first, and no more is read than it says.
    """
    package("pyarrow")
    with package("pyarrow.parquet").ParquetFile(file, read_dictionary=["key"]) as content:
        dim = _require_schema(content.schema_arrow, kind, source)
        require_bounded(content.metadata.num_rows * (4 * dim + _ROW), size_of(file))
        require_bounded(unpacked(content.metadata), size_of(file))
        return _from_table(content.read(list(_COLUMNS)))


def write_arrow(file: BinaryIO, record: Record) -> None:
    """As a file of Arrow's IPC format, uncompressed."""
    table = _table(record)
    with package("pyarrow").ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def read_arrow(file: BinaryIO, source: str, kind: str) -> Record:
    """What `write_arrow` wrote: nothing that is compressed, so that it takes no more than the file's size.

    It is read as the stream of batches that such a file is, since these are what is looked through first.
    """
    ipc = package("pyarrow").ipc
    listed = ipc.open_file(file)  # or the error that its end is missing
    _require_schema(listed.schema, kind, source)
    file.seek(_MAGIC)
    batches = [message for message in ipc.MessageReader.open_stream(file) if message.type != "schema"]
    if any(message.type != "record batch" or _is_compressed(message) for message in batches):
        raise ValueError("it is compressed or has dictionaries, which no vectors do that `save` wrote")
    if len(batches) != listed.num_record_batches:
        raise ValueError(f"it has {len(batches)} batches, and lists {listed.num_record_batches} at its end")
    del batches
    file.seek(_MAGIC)
    table = ipc.open_stream(file).read_all()
    _require_schema(table.schema, kind, source)
    return _from_table(table.select(list(_COLUMNS)))


def _is_compressed(message: Any) -> bool:
    """Whether a record batch says by what it is compressed, in the last field of its header.

    pyarrow has no word for that. The header is a FlatBuffer, whose tables begin with the distance to a list
    of their fields' places (Arrow's Message.fbs: the header is field 2 of a message, the compression field 3
    of a record batch).
    """
    content = bytes(message.metadata)
    batch = _field(content, _follow(content, 0), 2)
    return batch is None or _field(content, _follow(content, batch), 3) is not None


def _field(content: bytes, table: int, number: int) -> int | None:
    """Where a field of a FlatBuffer's table lies; None for one that isn't there."""
    places = table - _number("<i", content, table)
    own = places + 4 + 2 * number
    if own + 2 > places + _number("<H", content, places):
        return None
    offset = _number("<H", content, own)
    return table + offset if offset else None


def _follow(content: bytes, place: int) -> int:
    return place + _number("<I", content, place)


def _number(kind: str, content: bytes, place: int) -> int:
    if place < 0:
        raise ValueError("a header points before its beginning")
    return int(struct.unpack_from(kind, content, place)[0])
