"""The columns of an index's tables: keys, vectors, stamps of content, and metadata of Python types."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..embeddings.array_types import Vectors
from ..embeddings.surrogates import escape_surrogates, unescape_surrogates
from .conditions import KEYWORDS
from .layout import SINGLE, Layout

FORMAT = "2"
OWN = ("key", "modality", "vector", "_hash", "_size", "_time")
# Names that metadata can't have: the index's own, and words that mean something else in a condition.
RESERVED = KEYWORDS | {"fault", "key", "modality", "reason", "vector"}
LONGEST_NAME, MOST_COLUMNS = 100, 500
_NAME = re.compile("[A-Za-z][A-Za-z0-9_]*")
_FORMAT, _ID, _SPACE = b"mmencode.index", b"mmencode.index.id", b"mmencode.index.space"
_LAYOUT = b"mmencode.index.vectors"  # which only the tables of an index of many vectors have
_JSON = "\ufdd1"  # no character: a text that begins with it is JSON, of a mapping or a list
_DEEPEST = 32  # mappings and lists in each other
Value = str | bool | int | float | list[Any] | dict[str, Any]
Metadata = Mapping[str, Any]  # as callers give it


@dataclass(frozen=True, slots=True)
class Owner:
    """The index that a table belongs to, by a random id, and the identity of its vectors.

    That is the fingerprint of their space, and their layout.
    """

    index: str
    space: str
    layout: Layout = SINGLE

    @classmethod
    def new(cls, space: str, layout: Layout = SINGLE) -> Owner:
        """Make the owner of a new index's tables."""
        return cls(secrets.token_hex(16), space, layout)

    @property
    def facts(self) -> dict[bytes, bytes]:
        """The owner as the metadata of a table's schema."""
        own = {_FORMAT: FORMAT.encode(), _ID: self.index.encode(), _SPACE: self.space.encode()}
        return own | ({_LAYOUT: self.layout.text.encode()} if self.layout.many else {})


def owner_of(schema: Any) -> Owner | None:
    """Read the owner of a table from its schema; None for a table of another format."""
    facts = schema.metadata or {}
    layout = Layout.parse(facts.get(_LAYOUT, b"").decode(errors="replace"))
    if facts.keys() - {_LAYOUT} != {_FORMAT, _ID, _SPACE} or facts[_FORMAT] != FORMAT.encode():
        return None
    if layout is None:
        return None
    return Owner(facts[_ID].decode(errors="replace"), facts[_SPACE].decode(errors="replace"), layout)


def row_schema(dim: int, owner: Owner) -> Any:
    """The columns that the rows of every index have, metadata aside.

    Those of the stamp are null for vectors that were given rather than encoded here.
    """
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("modality", pa.string(), nullable=False),
            pa.field("vector", owner.layout.vector_type(dim), nullable=False),
            *stamp_fields(),
        ],
        metadata=owner.facts,
    )


def failure_schema(owner: Owner | None = None) -> Any:
    """The columns of the table of failures."""
    import pyarrow as pa

    words = [pa.field(name, pa.string(), nullable=False) for name in ("key", "modality", "reason", "fault")]
    return pa.schema([*words, *stamp_fields()], metadata=owner.facts if owner else None)


def stamp_fields() -> list[Any]:
    """The columns that hold the `ContentStamp` of a row or a failure.

    _hash  hash of the item's content
    _size  size of its file, in bytes
    _time  time of the file's last change, in ns; -1 where it was too recent to tell a later change by it
    """
    import pyarrow as pa

    return [pa.field("_hash", pa.string()), pa.field("_size", pa.int64()), pa.field("_time", pa.int64())]


def vectors_of(column: Any) -> Vectors:
    """Read the vectors `[n, dim]` of a column, without a copy where it is in one piece."""
    dim = column.type.list_size
    pieces = column.chunks if hasattr(column, "chunks") else [column]
    rows = [piece.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim) for piece in pieces]
    return rows[0] if len(rows) == 1 else np.concatenate([np.empty((0, dim), np.float32), *rows])


def metadata_names(schema: Any) -> list[str]:
    """The names of the columns of metadata in a table of rows."""
    return [name for name in schema.names if name not in OWN and not name.startswith("_")]


def plain_metadata(row: Any, place: int) -> dict[str, Value]:
    """Copy the metadata of a row as plain Python values, leaving out None.

    Raises TypeError for what is no mapping and for values of other types than str, bool, int, float and None,
    and mappings and lists of these; ValueError for names that a condition couldn't use, NaN, and numbers that
    64 bits can't hold.
    """
    if not isinstance(row, Mapping):
        raise TypeError(
            f"metadata of row {place} is {type(row).__name__}: make it a mapping from names to values"
        )
    return {
        _require_name(name, place): _plain(name, value, place)
        for name, value in row.items()
        if value is not None
    }


def new_columns(schema: Any, rows: Sequence[Metadata], places: Sequence[int]) -> list[Any]:
    """Make the fields for metadata of these rows for which the table has no column yet.

    `places` are the rows' positions in their batch, for errors. Raises TypeError for values of another type
    than the column's; ValueError for ints that a column of float can't hold, and for names that SQL can't
    tell apart.
    """
    import pyarrow as pa

    known = {name: schema.field(name).type for name in metadata_names(schema)}
    kinds = {"str": pa.string(), "bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}
    names = {kind: name for name, kind in kinds.items()}
    found: dict[str, str] = {}
    said = [(*entry, place) for row, place in zip(rows, places, strict=True) for entry in row.items()]
    for name, value, place in said:
        held = names.get(known[name]) if name in known else found.get(name)
        found[name] = _join_types(name, held, value, place, fixed=name in known)
    for name, value, place in said:
        if found[name] == "float" and isinstance(value, int) and int(float(value)) != value:
            raise ValueError(f"{name} of row {place} is {value}, which a column of float can't hold exactly")
    added = [name for name in found if name not in known]
    if len(known) + len(added) > MOST_COLUMNS:
        raise ValueError(
            f"metadata would have {len(known) + len(added)} names, and an index holds {MOST_COLUMNS}: join "
            "what only a few rows have into one string"
        )
    _require_distinct([*known, *added], added)
    return [pa.field(name, kinds[found[name]]) for name in added]


def metadata_columns(schema: Any, rows: Sequence[Metadata]) -> list[Any]:
    """Make an array of the rows' metadata for each column of the table; null where a row has none."""
    import pyarrow as pa

    columns = []
    for name in metadata_names(schema):
        values = [row.get(name) for row in rows]
        columns.append(pa.array(list(map(_to_stored, values)), schema.field(name).type))
    return columns


def metadata_of(table: Any) -> list[dict[str, Any]]:
    """Read the metadata of each row of a table, leaving out nulls."""
    names = metadata_names(table.schema)
    if not names:
        return [{} for _ in range(table.num_rows)]
    return [
        {
            name: _from_stored(value) if isinstance(value, str) else value
            for name, value in row.items()
            if value is not None
        }
        for row in table.select(names).to_pylist()
    ]


def _require_name(name: Any, place: int) -> str:
    """Return the name as a plain str; ValueError where metadata can't be called so."""
    known = isinstance(name, str) and len(name) <= LONGEST_NAME and _NAME.fullmatch(name) is not None
    if not known or name.lower() in RESERVED:
        why = f"{', '.join(sorted(RESERVED))} are reserved" if known else "begin with a letter"
        raise ValueError(
            f"metadata of row {place} has the name {name!r:.200}: make it at most {LONGEST_NAME} letters, "
            f"digits and _; {why}"
        )
    return str.__str__(name)


def _to_stored(value: Any) -> Any:
    """The value as its column holds it: mappings and lists, and texts that look like them there, as JSON."""
    if isinstance(value, (dict, list)) or (isinstance(value, str) and value.startswith(_JSON)):
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return _JSON + escape_surrogates(text)
    return escape_surrogates(value) if isinstance(value, str) else value


def _from_stored(text: str) -> Any:
    """The value that `_to_stored` made a text of."""
    if not text.startswith(_JSON):
        return unescape_surrogates(text)
    try:
        return json.loads(unescape_surrogates(text.removeprefix(_JSON)))
    except (ValueError, RecursionError):  # written before there was JSON
        return unescape_surrogates(text)


def _plain_parts(name: str, value: Any, place: int, depth: int) -> Any:
    """Convert a mapping or a list, and all in it, to plain Python values; tuples and arrays become lists."""
    if depth == 0:
        raise ValueError(f"{name} of row {place} has more than {_DEEPEST} mappings and lists in each other")
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return [_plain_parts(name, part, place, depth - 1) for part in value]
    if isinstance(value, Mapping):
        unnamed = [key for key in value if not isinstance(key, str)]
        if unnamed:
            raise TypeError(f"{name} of row {place} has the name {unnamed[0]!r:.100} in it: make names str")
        return {str.__str__(key): _plain_parts(name, part, place, depth - 1) for key, part in value.items()}
    return _plain(name, value, place)


def _plain(name: str, value: Any, place: int) -> Value:
    """Convert a value to exactly str, bool, int, float, list or dict, not to a type derived from one."""
    if isinstance(value, (list, tuple, Mapping)) or (isinstance(value, np.ndarray) and value.ndim):
        nested: Value = _plain_parts(name, value, place, _DEEPEST)
        return nested
    value = value.item() if isinstance(value, np.generic) else value
    for kind in (bool, int, float):
        if isinstance(value, kind):
            plain = kind(value)
            if plain != plain:
                raise ValueError(f"{name} of row {place} is NaN, which no condition can find: make it None")
            if kind is int and not -(2**63) <= plain < 2**63:
                bits = int(plain).bit_length()
                raise ValueError(f"{name} of row {place} is an int of {bits} bits, which 64 bits can't hold")
            return plain
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(
        f"{name} of row {place} is of type {type(value).__name__}: make it str, bool, int, float or "
        "None, or a mapping or list of these"
    )


def join_types(held: Mapping[str, str], row: Metadata, place: int) -> dict[str, str]:
    """Give the types of columns, by name, that are to hold another row, too; TypeError where one differs."""
    return {
        **held,
        **{name: _join_types(name, held.get(name), value, place, fixed=False) for name, value in row.items()},
    }


def _join_types(name: str, held: str | None, value: Any, place: int, *, fixed: bool) -> str:
    """The type of a column that holds values of one type and is to hold a value, too."""
    kind = "str" if isinstance(value, (dict, list)) else type(value).__name__
    if held in (None, kind) or (held, kind) == ("float", "int"):
        return held or kind
    if (held, kind) == ("int", "float") and not fixed:
        return kind
    kind = type(value).__name__
    raise TypeError(f"{name} of row {place} is of type {kind}, and the column {name} holds {held}")


def _require_distinct(names: Sequence[str], added: Iterable[str]) -> None:
    """Raise ValueError for names that differ in case only, which SQL takes for one."""
    for name in added:
        alike = [other for other in names if other != name and other.lower() == name.lower()]
        if alike:
            raise ValueError(f"metadata {name!r} and {alike[0]!r} differ in case only, which SQL doesn't see")
