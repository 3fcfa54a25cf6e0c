"""A new index out of vectors that were made elsewhere: all rows by one commit, as they come."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .._atomic import folder_aside
from ..embeddings.embeddings import Embeddings
from ..embeddings.surrogates import escape_surrogates
from ..errors import SpaceMismatchError, StoreError
from ..spaces.space import Space
from .columns import Owner, failure_schema, row_schema, stamp_fields
from .index import Index
from .lance import as_store_errors, package
from .layout import SINGLE
from .lazy_space import LazySpace, LoadOptions, write_space
from .pending import NewRows
from .places import Address, Place, place_of
from .resident import require_memory
from .results import Failure
from .shared import finish, make_shared_tables
from .store import Store
from .tables import make_tables

_FAILURES = 8192  # that are written at once
Parts = Iterable[Embeddings]
ReadFailures = Callable[[], Iterator[Failure]]


def build_whole(
    path: str | os.PathLike[str],
    space: Space,
    parts: Parts,
    failures: ReadFailures,
    *,
    memory: int,
    storage_options: Mapping[str, str] | None = None,
) -> tuple[int, int]:
    """Make an index in a folder that isn't there yet, of vectors with keys; count its rows and failures.

    The vectors are those of one modality, a part in memory at a time; whoever calls this has seen to it that
    no key comes twice. `failures` reads those that the index lists; one whose key has a row is left out. The
    folder appears whole or not at all, and an address has an index once all is there. Raises FileExistsError,
    SpaceMismatchError for vectors of another space or of several encoders, StoreError.
    """
    place = place_of(path, storage_options)
    package("lancedb")
    owner = Owner.new(space.card.fingerprint, SINGLE)
    if not isinstance(place, Address):
        with folder_aside(place) as aside:
            write_space(space, aside)
            make_tables(aside, space.dim, owner)
            return _fill_new(aside, aside, space, memory, parts, failures)
    with tempfile.TemporaryDirectory(prefix="mmencode-index-") as folder:
        files = Path(folder, "space")
        write_space(space, files)
        make_shared_tables(place, space.dim, owner)
        counts = _fill_new(place, files, space, memory, parts, failures)
        finish(place, files)  # which makes it an index
        return counts


def _fill_new(
    place: Place, files: Path, space: Space, memory: int, parts: Parts, failures: ReadFailures
) -> tuple[int, int]:
    lazy_space = LazySpace(files, space, options=LoadOptions())
    store = Store(place, space.card.fingerprint, require_memory(memory))
    with Index(place, lazy_space, store) as index:
        return _fill(index, parts, failures)


def _fill(index: Index, parts: Parts, failures: ReadFailures) -> tuple[int, int]:
    """Write rows and failures into an empty index."""
    import pyarrow as pa

    waiting = {escape_surrogates(each.key) for each in failures()}
    store = index._store
    rows = _Rows(index, waiting)
    found = iter(parts)
    first = next(found, None)
    if first is not None:
        index._claim(first)
        with store.writing():
            index._require(index._claim(first))
            schema = row_schema(index.card.dim, store.owner)
            with as_store_errors(store.folder, "written"):
                batches = rows.batches(first, found, schema)
                store.rows.add(pa.RecordBatchReader.from_batches(schema, batches))
    with store.writing() as writer:
        with as_store_errors(store.folder, "written"):
            for table in _failure_tables(failures, waiting):
                store.failures.add(table)
        writer.compact()
    if len(index) != rows.count:
        raise StoreError(
            f"{rows.count} rows were written, and {len(index)} are there", culprit=str(store.folder)
        )
    return rows.count, len(waiting)


class _Rows:
    """The rows on their way into the table; keys that have one are taken out of those that wait."""

    def __init__(self, index: Index, waiting: set[str]) -> None:
        self.count = 0
        self._index, self._waiting = index, waiting

    def batches(self, first: Embeddings, others: Iterator[Embeddings], schema: Any) -> Iterator[Any]:
        """Make a batch of each part, checked as `Index.add_embeddings` checks vectors."""
        import pyarrow as pa

        index = self._index
        for part in _chain(first, others):
            index._lazy_space.require_vectors(part, "vector", "added")
            if (part.modality, part.towers) != (first.modality, first.towers):
                raise SpaceMismatchError(
                    f"some of the vectors are of {first.modality} by {dict(first.towers)}, and others of "
                    f"{part.modality} by {dict(part.towers)}",
                    remedy="encode all of them with one encoder",
                )
            rows = NewRows.of_embeddings(part, None)
            columns = {**rows.columns(schema), "vector": index._store.layout.column(part)}
            self.count += len(rows.keys)
            self._waiting.difference_update(rows.keys)
            yield pa.RecordBatch.from_arrays([_one(columns[name]) for name in schema.names], schema=schema)


def _failure_tables(failures: ReadFailures, wanted: set[str]) -> Iterator[Any]:
    """Make tables of the failures with these keys, the first of each."""
    import pyarrow as pa

    schema = failure_schema()
    left, rows = set(wanted), []
    nothing = [None] * len(stamp_fields())
    for each in failures():
        key = escape_surrogates(each.key)
        if key in left:
            left.discard(key)
            said = (each.modality, each.reason, each.fault)
            rows.append((key, *map(escape_surrogates, said), *nothing))
        if len(rows) == _FAILURES:
            yield _table(rows, schema, pa)
            rows = []
    if rows:
        yield _table(rows, schema, pa)


def _table(rows: list[tuple[Any, ...]], schema: Any, pa: Any) -> Any:
    columns = zip(*rows, strict=True)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def _one(column: Any) -> Any:
    return column.combine_chunks() if hasattr(column, "chunks") else column


def _chain(first: Embeddings, others: Iterator[Embeddings]) -> Iterator[Embeddings]:
    yield first
    yield from others
