"""Tables with one row for each vector, `.parquet`, `.arrow` and `.feather`, written and read by pyarrow."""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

import numpy as np

from ..._atomic import size_of
from ...plugins.packages import import_package
from ..array_types import Array
from ..surrogates import escape_surrogates, unescape_surrogates
from .record import Record, require_bounded, require_kind

_COLUMNS = ("key", "position", "vector")
_RANGES = ("low", "high")  # arrays that say what codes stand for
_ITEM = "item"  # the column that counts the items, where an item has many vectors
_MAGIC = 8  # bytes before the first message of an Arrow file
_ROW = 16  # bytes of a row beside its vector: a position, and where its key ends


def import_pyarrow(name: str) -> Any:
    """Import pyarrow, or a module of it; MissingPackageError where it isn't installed."""
    return import_package(name, "Parquet and Arrow files need pyarrow", "pip install 'mmencode[arrow]'")


def table_of(record: Record, name: str = "vectors") -> Any:
    """Make a table of a record: `key` string, `position` int64, `vector` fixed_size_list<float32>[dim].

    Without keys, the column `key` is nullable and null in every row. Keys that aren't UTF-8 are escaped.
    Where an item has many rows, `item` int64 counts the items. With the array "codes" in place of "vectors"
    the last column is `code`, and the numbers are of its type. Ranges of codes go into the metadata.
    """
    arrow = import_pyarrow("pyarrow")
    numbers = record.arrays[name]
    count, _ = numbers.shape
    rows = _rows_of(numbers)
    fields = [
        arrow.field("key", arrow.string(), nullable=record.keys is None),
        arrow.field("position", arrow.int64(), nullable=False),
        arrow.field(name.removesuffix("s"), rows.type, nullable=False),
    ]
    columns = [
        _keys_of(record, count),
        arrow.array(record.arrays["positions"], arrow.int64()),
        rows,
    ]
    if "items" in record.arrays:
        fields.append(arrow.field(_ITEM, arrow.int64(), nullable=False))
        columns.append(arrow.array(record.arrays["items"], arrow.int64()))
    ranges = {bound: json.dumps(record.arrays[bound].tolist()) for bound in _RANGES if bound in record.arrays}
    metadata = {**record.facts, **ranges}
    return arrow.Table.from_arrays(columns, schema=arrow.schema(fields, metadata=metadata))


def _rows_of(numbers: Array) -> Any:
    """Make a column of lists of equal length, in the memory of an array `[rows, width]`."""
    arrow = import_pyarrow("pyarrow")
    return arrow.FixedSizeListArray.from_arrays(arrow.array(numbers.reshape(-1)), numbers.shape[1])


def items_table_of(record: Record, name: str = "vectors") -> Any:
    """Make a table with a row for each item of many vectors: `key`, `position` and a list of `vectors`.

    The array `ends` of the record says where the vectors of each item end. With the array "codes" in place
    of "vectors" the list is of these.
    """
    arrow = import_pyarrow("pyarrow")
    ends = record.arrays["ends"]
    rows = _rows_of(record.arrays[name])
    starts = arrow.array(np.concatenate([[0], ends]), arrow.int64())
    return arrow.Table.from_arrays(
        [
            _keys_of(record, len(ends)),
            arrow.array(record.arrays["positions"], arrow.int64()),
            arrow.LargeListArray.from_arrays(starts, rows),
        ],
        schema=arrow.schema(
            [
                arrow.field("key", arrow.string(), nullable=record.keys is None),
                arrow.field("position", arrow.int64(), nullable=False),
                arrow.field(name, arrow.large_list(rows.type), nullable=False),
            ],
            metadata=dict(record.facts),
        ),
    )


def _keys_of(record: Record, count: int) -> Any:
    """Make the column of keys, all null where there are none; those that aren't UTF-8 are escaped."""
    arrow = import_pyarrow("pyarrow")
    if record.keys is None:
        return arrow.nulls(count, arrow.string())
    return arrow.array([escape_surrogates(key) for key in record.keys], arrow.string())


def facts_of(schema: Any) -> dict[str, str]:
    """The texts in the metadata of a schema, by name."""
    metadata = schema.metadata or {}
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in metadata.items()}


def _require_schema(schema: Any, kind: str, source: str) -> int:
    """Take the width of the vectors from a schema; InputError or ValueError for one of other content."""
    types = import_pyarrow("pyarrow").types
    require_kind(facts_of(schema), kind, source)
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


def _record_of(table: Any) -> Record:
    """Make a record of a table; its arrays are copies, so that they can be written to."""
    table.validate(full=True)  # pyarrow reads offsets and text from the file without a check
    words = [word for chunk in table.column("key").chunks for word in _texts_of(chunk)]
    keys = [word for word in words if word is not None]
    unnamed = table.schema.field("key").nullable and not keys
    if len(keys) < len(words) and not unnamed:
        raise ValueError("some of its keys are missing")
    dim = table.schema.field("vector").type.list_size
    parts = [chunk.flatten() for chunk in table.column("vector").chunks]
    if table.column("vector").null_count or any(part.null_count for part in parts):
        raise ValueError("some of its vectors are missing")
    numbers = [np.zeros(0, np.float32), *(part.to_numpy() for part in parts)]
    arrays = {
        "vectors": np.concatenate(numbers).reshape(len(table), dim),
        "positions": np.array(table.column("position").to_numpy()),
    }
    if _ITEM in table.column_names:
        arrays["items"] = np.array(table.column(_ITEM).to_numpy())
    return Record(
        arrays,
        facts_of(table.schema),
        None if unnamed else tuple(unescape_surrogates(key) for key in keys),
    )


def _columns_of(schema: Any) -> list[str]:
    """The columns of a table that are read."""
    return [*_COLUMNS, _ITEM] if schema.get_field_index(_ITEM) >= 0 else list(_COLUMNS)


def size_once_unpacked(metadata: Any) -> int:
    """The size in bytes that a Parquet file's groups of rows declare to unpack to.

    The metadata of columns isn't asked for: on some damaged files, that makes pyarrow end the process.
    """
    return sum(metadata.row_group(place).total_byte_size for place in range(metadata.num_row_groups))


def _texts_of(column: Any) -> list[str | None]:
    """Read a column of text; with a dictionary, each text becomes one object, however often it occurs."""
    if not import_pyarrow("pyarrow").types.is_dictionary(column.type):
        found: list[str | None] = column.to_pylist()
        return found
    known = column.dictionary.to_pylist()
    return [None if place is None else known[place] for place in column.indices.to_pylist()]


def write_parquet(file: BinaryIO, record: Record) -> None:
    """Write Parquet without dictionaries, since hardly a value occurs twice but the keys of many rows."""
    table = table_of(record)
    repeated = ["key"] if _ITEM in table.column_names else False
    import_pyarrow("pyarrow.parquet").write_table(table, file, use_dictionary=repeated)


def read_parquet(file: BinaryIO, source: str, kind: str) -> Record:
    """Read what `write_parquet` wrote, after a check of the sizes that the file declares.

    Runs and dictionaries can encode millions of rows in a few bytes, so the declared sizes are compared with
    that of the file before anything is unpacked.
    """
    import_pyarrow("pyarrow")
    with import_pyarrow("pyarrow.parquet").ParquetFile(file, read_dictionary=["key"]) as content:
        dim = _require_schema(content.schema_arrow, kind, source)
        require_bounded(content.metadata.num_rows * (4 * dim + _ROW), size_of(file))
        require_bounded(size_once_unpacked(content.metadata), size_of(file))
        return _record_of(content.read(_columns_of(content.schema_arrow)))


def write_arrow(file: BinaryIO, record: Record) -> None:
    """Write a file of Arrow's IPC format, uncompressed."""
    table = table_of(record)
    with import_pyarrow("pyarrow").ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def read_arrow(file: BinaryIO, source: str, kind: str) -> Record:
    """Read what `write_arrow` wrote; compressed batches are refused, so that memory is bounded by the file.

    An Arrow file is a stream of messages with an index at its end: messages are looked through one by one
    before any is unpacked, and then read as the stream that they are.
    """
    ipc = import_pyarrow("pyarrow").ipc
    listed = ipc.open_file(file)  # raises where the index at the end is missing
    _require_schema(listed.schema, kind, source)
    file.seek(_MAGIC)
    batches = [message for message in ipc.MessageReader.open_stream(file) if message.type != "schema"]
    if any(message.type != "record batch" or _is_compressed(message) for message in batches):
        raise ValueError("it is compressed or has dictionaries, and `save` writes neither")
    if len(batches) != listed.num_record_batches:
        raise ValueError(f"it has {len(batches)} batches, and lists {listed.num_record_batches} at its end")
    del batches
    file.seek(_MAGIC)
    table = ipc.open_stream(file).read_all()
    _require_schema(table.schema, kind, source)
    return _record_of(table.select(_columns_of(table.schema)))


def _is_compressed(message: Any) -> bool:
    """Whether a record batch names a compression, in the last field of its header.

    pyarrow doesn't expose that, so the header is parsed here. It is a FlatBuffer, whose tables begin with the
    distance to a list of their fields' places (Arrow's Message.fbs: the header is field 2 of a message, the
    compression field 3 of a record batch).
    """
    content = bytes(message.metadata)
    batch = _field(content, _follow(content, 0), 2)
    return batch is None or _field(content, _follow(content, batch), 3) is not None


def _field(content: bytes, table: int, number: int) -> int | None:
    """The offset of a field of a FlatBuffer's table; None where the table lacks the field."""
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
