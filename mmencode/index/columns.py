"""The table of rows: its columns, and metadata of Python types as columns of their own."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..embeddings import Vectors
from .escaping import escape, unescape

FORMAT = {"mmencode.index": "1"}
OWN = ("key", "modality", "vector", "_hash", "_size", "_time")
_NAME = re.compile("[A-Za-z][A-Za-z0-9_]*")
Metadata = Mapping[str, Any]


def row_schema(dim: int) -> Any:
    """The columns that every index has; where a row comes from is null for vectors that were given.

    _hash  of the item's content
    _size  of its file, in bytes
    _time  the file was last changed, in ns; -1 where that was too near to the reading to tell a later change
    """
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("modality", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), dim), nullable=False),
            *source_fields(),
        ],
        metadata=FORMAT,
    )


def failure_schema() -> Any:
    """The columns of the table of failures."""
    import pyarrow as pa

    words = [pa.field(name, pa.string(), nullable=False) for name in ("key", "modality", "reason")]
    return pa.schema([*words, pa.field("fault", pa.string()), *source_fields()], metadata=FORMAT)


def source_fields() -> list[Any]:
    """Where a row or a failure comes from."""
    import pyarrow as pa

    return [pa.field("_hash", pa.string()), pa.field("_size", pa.int64()), pa.field("_time", pa.int64())]


def vector_column(vectors: Vectors) -> Any:
    """Vectors `[n, dim]` as a column, without a copy."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])


def vectors_of(column: Any) -> Vectors:
    """The vectors `[n, dim]` of a column, without a copy where it is in one piece."""
    dim = column.type.list_size
    pieces = column.chunks if hasattr(column, "chunks") else [column]
    rows = [piece.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim) for piece in pieces]
    return rows[0] if len(rows) == 1 else np.concatenate([np.empty((0, dim), np.float32), *rows])


def metadata_names(schema: Any) -> list[str]:
    """The columns of metadata."""
    return [name for name in schema.names if name not in (*OWN, "reason")]


def new_columns(schema: Any, rows: Sequence[Metadata]) -> list[Any]:
    """Fields for what the rows have and the table hasn't; raises for what no column can hold.

    TypeError for values of other types than the column's, or than str, bool, int and float; ValueError for
    names that SQL or the index itself can't tell apart.
    """
    import pyarrow as pa

    known = {name: schema.field(name).type for name in metadata_names(schema)}
    kinds = {"str": pa.string(), "bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}
    names = {kind: name for name, kind in kinds.items()}
    found: dict[str, str] = {}
    for place, row in enumerate(rows):
        for name, value in row.items():
            if value is None:
                continue
            kind = _kind(name, value, place)
            held = names.get(known[name]) if name in known else found.get(name)
            found[name] = _joined(name, held, kind, place, fixed=name in known)
    added = [name for name in found if name not in known]
    _require_distinct([*known, *added], added)
    return [pa.field(name, kinds[found[name]]) for name in added]


def metadata_columns(schema: Any, rows: Sequence[Metadata]) -> list[Any]:
    """The rows' metadata as an array for each column of the table, in its order; null where there is none."""
    import pyarrow as pa

    columns = []
    for name in metadata_names(schema):
        kind = schema.field(name).type
        values = [row.get(name) for row in rows]
        if kind == pa.string():
            values = [None if value is None else escape(value) for value in values]
        columns.append(pa.array(values, kind))
    return columns


def metadata_of(table: Any) -> list[dict[str, Any]]:
    """What each row of a table has of metadata; what is null isn't there."""
    names = metadata_names(table.schema)
    names = [name for name in names if not name.startswith("_")]
    if not names:
        return [{} for _ in range(table.num_rows)]
    return [
        {
            name: unescape(value) if isinstance(value, str) else value
            for name, value in row.items()
            if value is not None
        }
        for row in table.select(names).to_pylist()
    ]


def _kind(name: Any, value: Any, place: int) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.lower() in OWN:
        raise ValueError(
            f"metadata of row {place} has the name {name!r}: make it letters, digits and _, a letter first, "
            f"and none of {', '.join(OWN[:3])}"
        )
    if isinstance(value, np.generic):
        value = value.item()
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise ValueError(f"{name} of row {place} is {value}, which 64 bits can't hold")
            return kind.__name__
    raise TypeError(
        f"{name} of row {place} is of type {type(value).__name__}: make it str, bool, int, float or None"
    )


def _joined(name: str, held: str | None, kind: str, place: int, *, fixed: bool) -> str:
    """The type of a column that held one type and is to hold another value's, too."""
    if held in (None, kind) or (held, kind) == ("float", "int"):
        return held or kind
    if (held, kind) == ("int", "float") and not fixed:
        return kind
    raise TypeError(f"{name} of row {place} is of type {kind}, and the column {name} holds {held}")


def _require_distinct(names: Sequence[str], added: Iterable[str]) -> None:
    """ValueError for names that differ in case only, which SQL takes for one."""
    for name in added:
        alike = [other for other in names if other != name and other.lower() == name.lower()]
        if alike:
            raise ValueError(f"metadata {name!r} and {alike[0]!r} differ in case only, which SQL doesn't see")


def require_unit(vectors: Vectors) -> None:
    """ValueError for rows that aren't finite, or not of length 1 to within 0.001."""
    lengths = np.einsum("nd,nd->n", vectors, vectors)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < 2e-3))
    if len(wrong):
        length = math.sqrt(lengths[wrong[0]]) if lengths[wrong[0]] >= 0 else math.nan
        raise ValueError(
            f"the vector of row {wrong[0]} has length {length:g} ({len(wrong)} such rows of {len(vectors)}): "
            "vectors of a space have length 1, as encode() gives them"
        )
