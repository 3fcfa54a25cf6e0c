"""Rows, failures and sources as tables that are committed whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..embeddings import Vectors
from .columns import (
    failure_schema,
    metadata_columns,
    metadata_names,
    new_columns,
    source_fields,
    vector_column,
)
from .entries import Entry, Source
from .escaping import escape
from .store import Store


@dataclass(frozen=True, slots=True)
class Line:
    """An entry, where its content is from, and the metadata that an earlier row of its key has."""

    entry: Entry
    source: Source
    before: Mapping[str, Any]

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What is said of it now, or else was before."""
        return self.before if self.entry.metadata is None else self.entry.metadata


def write_rows(store: Store, lines: Sequence[Line], vectors: Vectors) -> None:
    """Put rows in one commit, then delete the failures of their keys; to be called while `writing`.

    TypeError and ValueError for metadata that no column can hold, before anything is written.
    """
    import pyarrow as pa

    said = [line.metadata for line in lines]
    store.add_columns(new_columns(store.rows.schema, said))
    schema = store.rows.schema
    names = ["key", "modality", "vector", *(field.name for field in source_fields()), *metadata_names(schema)]
    columns = [*_names(lines), vector_column(vectors), *_sources(lines), *metadata_columns(schema, said)]
    store.put(pa.table(dict(zip(names, columns, strict=True))).select(schema.names).cast(schema))
    if store.failures.count_rows():
        store.delete(store.failures, [escape(line.entry.key) for line in lines])


def write_failures(store: Store, failed: Sequence[tuple[Line, str]]) -> None:
    """Put failures with their reasons, then delete the rows of their keys; to be called while `writing`."""
    import pyarrow as pa

    if not failed:
        return
    lines = [line for line, _ in failed]
    reasons = pa.array([escape(reason) for _, reason in failed], pa.string())
    store.put_failures(pa.table([*_names(lines), reasons, *_sources(lines)], schema=failure_schema()))
    rows, _ = store.known([escape(line.entry.key) for line in lines])
    store.delete(store.rows, list(rows))


def write_sources(store: Store, lines: Sequence[Line]) -> None:
    """Write anew where rows come from, and their metadata where it is said; to be called while `writing`."""
    import pyarrow as pa

    if not lines:
        return
    said = [line.metadata for line in lines]
    store.add_columns(new_columns(store.rows.schema, said))
    schema = store.rows.schema
    names = ["key", *(field.name for field in source_fields()), *metadata_names(schema)]
    columns = [_names(lines)[0], *_sources(lines), *metadata_columns(schema, said)]
    store.touch(pa.table(dict(zip(names, columns, strict=True))))


def _names(lines: Sequence[Line]) -> list[Any]:
    import pyarrow as pa

    keys = [escape(line.entry.key) for line in lines]
    return [pa.array(keys, pa.string()), pa.array([line.entry.modality for line in lines], pa.string())]


def _sources(lines: Sequence[Line]) -> list[Any]:
    import pyarrow as pa

    sources = [line.source for line in lines]
    return [
        pa.array([source.hash for source in sources], pa.string()),
        pa.array([source.size for source in sources], pa.int64()),
        pa.array([source.time for source in sources], pa.int64()),
    ]
