"""Rows of vectors are read out of tables in memory: those of pandas, polars, pyarrow, DuckDB and others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..card import require_same_space
from ..errors import InputError, SpaceMismatchError
from .array_types import Positions, Vectors
from .files import Record, errors_from_text
from .files.tables import facts_of, import_pyarrow
from .surrogates import unescape_surrogates
from .unit import require_unit


class Identified(Protocol):
    """A space, as far as vectors are compared with it; `mmencode.Space` is one."""

    @property
    def id(self) -> str:
        """The name and fingerprint that every vector of the space carries."""

    @property
    def dim(self) -> int:
        """The width of every vector of the space."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of the columns that have the vectors, the keys and the positions; "" for none."""

    vectors: str
    keys: str
    positions: str


@dataclass(frozen=True, eq=False, slots=True)
class ReadTable:
    """The vectors of a table, how many each row has, and the arguments of Embeddings that say whose they are.

    `counts` are None where each row of the table is one vector.
    """

    vectors: Vectors
    origin: Mapping[str, Any] = field(default_factory=dict)
    counts: Positions | None = None


def read_table(
    table: Any, kind: str, space: str | Identified | None, modality: str, names: Names
) -> ReadTable:
    """Read a vector for each row of a table, and their origin out of its metadata where it has some.

    `kind` is the format that the metadata says; raises as `Embeddings.from_table`.
    """
    found, what = _open(table)
    source = f"column {names.vectors!r} of {what}"
    vectors = _read_vectors(_column(found, names.vectors, what), source)
    return ReadTable(vectors, _read_origin(found, what, kind, space, modality, names, vectors))


def read_items_table(
    table: Any, kind: str, space: str | Identified | None, modality: str, names: Names
) -> ReadTable:
    """Read the vectors of each row of a table whose rows are items with many; raises as `read_table`."""
    compute = import_pyarrow("pyarrow.compute")
    found, what = _open(table)
    source = f"column {names.vectors!r} of {what}"
    column = _column(found, names.vectors, what)
    _require_lists(column, source, "lists of vectors")
    counts: Positions = compute.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
    if len(none := np.flatnonzero(counts == 0)):
        raise InputError(
            "it has no vectors", source=source, remedy="leave rows without any out", index=int(none[0])
        )
    try:
        vectors = _read_vectors(column.flatten(), source)
    except InputError as error:
        if error.index is not None:  # of a vector
            error.at(int(np.searchsorted(np.cumsum(counts), error.index, side="right")))
        raise
    return ReadTable(vectors, _read_origin(found, what, kind, space, modality, names, vectors), counts)


def _open(table: Any) -> tuple[Any, str]:
    """Make a table of Arrow's of any other, and its name for messages."""
    arrow = import_pyarrow("pyarrow")
    what = f"{type(table).__module__.partition('.')[0]}.{type(table).__name__}"
    try:
        return arrow.table(table), what
    except (TypeError, ValueError, arrow.ArrowException) as cause:
        raise InputError(
            f"it is no table that can be read: {cause!s:.300}",
            source=what,
            remedy="pass a table of pandas, polars, pyarrow or another that Arrow can read",
        ) from cause


def _read_origin(
    found: Any,
    what: str,
    kind: str,
    space: str | Identified | None,
    modality: str,
    names: Names,
    vectors: Vectors,
) -> Mapping[str, Any]:
    """Read keys and positions of a table, and the space of its vectors, which are checked."""
    facts = facts_of(found.schema)
    facts = facts if facts.get("format") == kind else {}
    id = _find_space(facts, space, vectors.shape[1], what)
    if not (modality or facts.get("modality")):
        raise ValueError("the table doesn't say the modality of its rows: give it, as in modality='text'")
    try:
        require_unit(vectors)
    except ValueError as cause:
        raise InputError(str(cause), source=f"column {names.vectors!r} of {what}") from cause
    record = Record({}, facts)
    return {
        "space": id,
        "modality": modality or facts["modality"],
        "keys": _read_keys(found, names.keys, what),
        "positions": _read_positions(found, names.positions, what),
        "errors": errors_from_text(facts["errors"]) if "errors" in facts else (),
        "towers": record.towers(),
        "widths": record.widths(),
    }


def _find_space(facts: Mapping[str, str], space: str | Identified | None, dim: int, what: str) -> str:
    """Find the id of the space of vectors; ValueError where nobody says it, SpaceMismatchError for two."""
    given = space if space is None or isinstance(space, str) else space.id
    if "space" in facts:
        if given is not None:
            require_same_space(facts["space"], given, "read as one")
        return facts["space"]
    if not given:
        raise ValueError(
            f"the {what} doesn't say what space its vectors belong to, since whatever wrote it dropped its "
            "metadata: give the space that made them, as in space=space or space='name@fingerprint'"
        )
    if space is not None and not isinstance(space, str) and space.dim != dim:
        raise SpaceMismatchError(
            f"vectors of {dim} numbers can't be of space {given}, whose vectors have {space.dim}",
            remedy="give the space that made them; that of vectors which were cut is their `space`, a text",
            culprit=what,
        )
    return given


def _column(table: Any, name: str, what: str) -> Any:
    if table.column_names.count(name) != 1:
        there = ", ".join(map(repr, table.column_names)) or "none"
        raise InputError(
            f"it has no column {name!r}, or several; its columns are {there:.300}",
            source=what,
            remedy="say the columns by name: from_table(table, vectors=..., keys=..., positions=...)",
        )
    arrow = import_pyarrow("pyarrow")
    column = table.column(name).combine_chunks()
    return arrow.concat_arrays(column.chunks) if isinstance(column, arrow.ChunkedArray) else column


def _require_lists(column: Any, source: str, what: str) -> None:
    """Raise InputError for a column that doesn't hold lists, or for which one is missing."""
    types = import_pyarrow("pyarrow").types
    kinds = types.is_fixed_size_list, types.is_list, types.is_large_list
    if not any(is_kind(column.type) for is_kind in kinds):
        raise InputError(
            f"it holds {column.type!s:.100}, and no {what}",
            source=source,
            remedy="name the column of vectors: from_table(table, vectors=...)",
        )
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise InputError("it has no vector", source=source, remedy="leave rows without one out", index=row)


def _read_vectors(column: Any, source: str) -> Vectors:
    """Read a column of lists of equal length as float32 `[n, dim]`, without a copy where it is float32."""
    compute, types = import_pyarrow("pyarrow.compute"), import_pyarrow("pyarrow").types
    _require_lists(column, source, "lists of numbers")
    fixed = types.is_fixed_size_list(column.type)
    if not fixed and len(column):
        lengths = compute.list_value_length(column).to_numpy(zero_copy_only=False)
        other = np.flatnonzero(lengths != lengths[0])
        if len(other):
            raise InputError(
                f"its vector has {lengths[other[0]]} numbers, and that of row 0 has {lengths[0]}",
                source=source,
                remedy="vectors of one space have one width",
                index=int(other[0]),
            )
    numbers = column.flatten()
    if not (types.is_floating(numbers.type) or types.is_integer(numbers.type)) or numbers.null_count:
        kind = "missing numbers" if numbers.null_count else str(numbers.type)
        raise InputError(f"its lists hold {kind:.100}", source=source, remedy="make them lists of floats")
    dim = column.type.list_size if fixed else len(numbers) // len(column) if len(column) else 0
    found: Vectors = numbers.to_numpy(zero_copy_only=False).reshape(len(column), dim)
    return found.astype(np.float32, copy=False)


def _read_keys(table: Any, name: str, what: str) -> list[str] | None:
    """Read the keys of rows; None where the column isn't there, or has none at all."""
    if not name or name not in table.column_names:
        return None
    keys = _column(table, name, what).to_pylist()
    if all(key is None for key in keys):
        return None
    for row, key in enumerate(keys):
        if not isinstance(key, (str, int)) or isinstance(key, bool):
            raise InputError(
                f"its key is {key!r:.100}, and no text",
                source=f"column {name!r} of {what}",
                remedy="give each row a text for its key, or none: from_table(table, keys='')",
                index=row,
            )
    return [unescape_surrogates(key) if isinstance(key, str) else str(key) for key in keys]


def _read_positions(table: Any, name: str, what: str) -> Positions | None:
    """Read the rows' places in their batch; None where the column isn't there."""
    if not name or name not in table.column_names:
        return None
    column = _column(table, name, what)
    types = import_pyarrow("pyarrow").types
    if column.null_count or not types.is_integer(column.type):
        raise InputError(
            f"it holds {column.type!s:.100} with {column.null_count} missing, and no places in a batch",
            source=f"column {name!r} of {what}",
            remedy="leave the column out: from_table(table, positions='')",
        )
    found: Positions = column.to_numpy(zero_copy_only=False).astype(np.int64)
    if len(found) and found.min() < 0:
        raise InputError(
            f"a position is {found.min()}, and places in a batch count from 0",
            source=f"column {name!r} of {what}",
            remedy="leave the column out: from_table(table, positions='')",
            index=int(found.argmin()),
        )
    return found
