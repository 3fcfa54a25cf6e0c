"""Rows, failures and sources as tables that are committed whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..embeddings.array_types import Vectors
from ..embeddings.surrogates import escape_surrogates
from ..errors import InputError
from .columns import (
    failure_schema,
    metadata_columns,
    metadata_names,
    new_columns,
    source_fields,
    vector_column,
)
from .entries import Entry, Source
from .store import Known, Store


@dataclass(frozen=True, slots=True)
class Line:
    """An entry, where its content is from, and what is known of the row that its key has."""

    entry: Entry
    source: Source
    row: Known | None

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What is said of it now, or else was before."""
        if self.entry.metadata is not None:
            return self.entry.metadata
        return {} if self.row is None else self.row.metadata


@dataclass(frozen=True, slots=True)
class Block:
    """Rows to be, of one modality: escaped keys, where they come from, metadata where there is any.

    `places` are those in their batch, where they aren't all of one in turn.
    """

    keys: Sequence[str]
    modality: str
    sources: Sequence[Source] | None = None
    metadata: Sequence[Mapping[str, Any]] | None = None
    places: Sequence[int] | None = None

    @staticmethod
    def of(lines: Sequence[Line]) -> Block:
        """Those of these lines, of which there is one at least."""
        return Block(
            [escape_surrogates(line.entry.key) for line in lines],
            escape_surrogates(lines[0].entry.modality),
            [line.source for line in lines],
            [line.metadata for line in lines],
            [line.entry.place for line in lines],
        )

    def columns(self, schema: Any) -> dict[str, Any]:
        """All columns of rows but the vectors."""
        import pyarrow as pa

        modality = pa.repeat(pa.scalar(self.modality, pa.string()), len(self.keys))
        found = {"key": pa.array(self.keys, pa.string()), "modality": modality, **self._source_columns()}
        if self.metadata is None:
            names = metadata_names(schema)
            return found | {name: pa.nulls(len(self.keys), schema.field(name).type) for name in names}
        said = metadata_columns(schema, self.metadata)
        return found | dict(zip(metadata_names(schema), said, strict=True))

    def _source_columns(self) -> dict[str, Any]:
        import pyarrow as pa

        fields = source_fields()
        if self.sources is None:
            return {field.name: pa.nulls(len(self.keys), field.type) for field in fields}
        values = [(source.hash, source.size, source.time) for source in self.sources]
        columns = zip(*values, strict=True)
        return {
            field.name: pa.array(column, field.type) for field, column in zip(fields, columns, strict=True)
        }


def write_rows(store: Store, block: Block, vectors: Vectors) -> int:
    """Put rows in one commit, then delete the failures of their keys; how many older rows they replaced.

    To be called while `writing`. TypeError and ValueError for metadata that no column can hold, and for keys
    of rows of another modality, before anything is written.
    """
    store.require_modality(block.keys, block.modality)
    schema, columns = _with_columns(store, block)
    replaced = store.put(_table({**columns, "vector": vector_column(vectors)}, schema), block.keys)
    store.delete(store.failures, block.keys)
    return replaced


def write_failures(store: Store, failed: Sequence[tuple[Line, InputError]]) -> None:
    """Put failures with their reasons, then delete the rows of those that last; to be called while `writing`.

    Where a failure can pass, the older row of its key stays: it is the last that was seen of the item.
    """
    import pyarrow as pa

    if not failed:
        return
    block = Block.of([line for line, _ in failed])
    reasons = pa.array([escape_surrogates(error.fact) for _, error in failed], pa.string())
    faults = pa.array([error.fault for _, error in failed], pa.string())
    schema = failure_schema()
    store.put_failures(_table({**block.columns(schema), "reason": reasons, "fault": faults}, schema))
    lasting = [key for key, (_, error) in zip(block.keys, failed, strict=True) if error.lasting]
    rows, _ = store.known(lasting)
    store.delete(store.rows, [key for key, row in rows.items() if row.modality == block.modality])


def write_sources(store: Store, lines: Sequence[Line]) -> None:
    """Write anew where rows come from, and their metadata where it is said; to be called while `writing`."""
    import pyarrow as pa

    if lines:
        block = Block.of(lines)
        _, columns = _with_columns(store, block)
        del columns["modality"]
        store.touch(pa.table(columns))


def _with_columns(store: Store, block: Block) -> tuple[Any, dict[str, Any]]:
    """The schema of rows, once it has all that the metadata needs, and all columns but the vectors."""
    schema = store.latest.schema
    fields = []
    if block.metadata is not None:
        places = range(len(block.keys)) if block.places is None else block.places
        fields = new_columns(schema, block.metadata, places)
    for field in fields:
        schema = schema.append(field)
    columns = block.columns(schema)  # which may fail, before the table has changed
    store.add_columns(fields)
    return store.latest.schema, columns


def _table(columns: Mapping[str, Any], schema: Any) -> Any:
    import pyarrow as pa

    return pa.table([columns[name] for name in schema.names], schema=schema)
