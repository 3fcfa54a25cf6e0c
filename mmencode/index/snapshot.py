"""The rows of one commit in memory, where exact searches need neither read nor decode them.

LanceDB reads and decodes every vector for each exact search, which takes longer than to compare them. In
memory vectors lie number by number, `[dim, rows]`: to compare one query with all rows takes half as long so.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..embeddings.array_types import Flags, Positions, Vectors
from ..embeddings.topk import Nearest
from .columns import metadata_names, vectors_of

BLOCK_ROWS = 2**14  # rows of a block: few enough that a commit, which changes some, moves little
_SCANNED = 2**16  # rows without their vectors that are read at once
_LARGEST = 2**30  # bytes of keys and metadata, which pyarrow then holds in one piece
_CONDITIONS = 16  # conditions whose rows are remembered


@dataclass(frozen=True, eq=False, slots=True)
class _Block:
    """A part of the rows, in the order of their keys.

    ids      by LanceDB; the vector that an id stands for never changes
    vectors  `[dim, rows]`
    places   in the order of all keys, ascending; those of rows that are gone are of no meaning
    there    marks the rows that are there, None where all are
    """

    ids: Positions
    vectors: Vectors
    places: Positions
    there: Flags | None

    @property
    def nbytes(self) -> int:
        return self.vectors.nbytes + self.ids.nbytes + self.places.nbytes

    def choose(self, among: Flags | None) -> Flags | None:
        """Mark the rows that are there and among those marked in the order of all keys; None for all."""
        if among is None:
            return self.there
        return among[self.places] if self.there is None else among[self.places] & self.there


class Snapshot:
    """The rows that a table of single vectors has as of one version; it never changes.

    facts  a table of key, modality and metadata, in the order of the keys
    """

    facts: Any
    nbytes: int

    def __init__(self, table: Any, version: int, rows: _Rows, blocks: Sequence[_Block]) -> None:
        self.facts = rows.facts
        self.nbytes = rows.nbytes + sum(block.nbytes for block in blocks)
        self._table, self._version = table, version
        self._rows, self._blocks = rows, tuple(blocks)
        self._guard = threading.Lock()
        self._marked: dict[str, Flags] = {}  # the rows that conditions mark, in the order of their use

    @classmethod
    def read(
        cls, table: Any, version: int, most: int, *, held: Snapshot | None = None, grown: bool = False
    ) -> Snapshot | None:
        """Read the rows of a table, but for the vectors that `held`, of an older version, has.

        Where the table has only `grown` since then, nothing but the new rows is read. None where all takes
        more than `most` bytes, or the table has moved on from the version.
        """
        rows = _Rows.read(table, most, held._rows if held is not None and grown else None)
        if rows is None:
            return None
        filling = _Filling(rows, () if held is None else held._blocks)
        found = cls(table, version, rows, filling.run(table))
        fits = filling.is_complete and found.nbytes <= most
        return found if fits and int(table.version) == version else None

    def is_of(self, table: Any, version: int) -> bool:
        """Whether the snapshot is of a table as of a version."""
        return self._table is table and self._version == version

    def is_before(self, table: Any, grown_from: int) -> bool:
        """Whether the snapshot is of a table that has only grown since, the version `grown_from` on."""
        return self._table is table and self._version >= grown_from

    def shares_vectors(self, table: Any, version: int) -> bool:
        """Whether ids stand for the same vectors in a version of a table: its fragments have one file each.

        LanceDB never writes a file again, nor gives a fragment's number to another, but it can give a
        fragment another column in a file of its own.
        """
        if self._table is not table:
            return False
        facts = [each["metadata"] for each in table.list_versions() if each["version"] == version]
        return bool(facts) and facts[0].get("total_data_files", "") == facts[0].get("total_fragments")

    def mark(self, where: str) -> Flags | None:
        """Mark the rows, in the order of their keys, that meet a checked condition.

        None where the table moved on, so that LanceDB can't tell any more.
        """
        with self._guard:
            marked = self._marked.pop(where, None)
        if marked is None:
            marked = np.zeros(len(self._rows.ids), bool)
            for batch in _scan(self._table.search().where(where), ["_rowid"], _SCANNED):
                places = self._rows.find(_ids_of(batch))
                marked[places[places >= 0]] = True
            if int(self._table.version) != self._version:
                return None
        with self._guard:
            self._marked[where] = marked
            if len(self._marked) > _CONDITIONS:
                del self._marked[next(iter(self._marked))]
        return marked

    def nearest(self, queries: Vectors, k: int, among: Flags | None = None) -> Nearest:
        """Find the best rows, or those among the marked ones, for each query; equal scores rank by key."""
        nearest = Nearest(queries, k)
        nearest.add_all(
            [(block.vectors.T, block.places, block.choose(among)) for block in self._blocks if len(block.ids)]
        )
        return nearest


@dataclass(frozen=True, eq=False, slots=True)
class _Rows:
    """The keys, modalities, metadata and ids of all rows, without their vectors.

    facts    key, modality and metadata, in the order of the keys
    ids      of the rows in that order
    scanned  places in that order of the rows as LanceDB scans them
    """

    facts: Any
    ids: Positions
    scanned: Positions
    _order: Positions = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_order", np.argsort(self.ids))

    @classmethod
    def read(cls, table: Any, most: int, held: _Rows | None = None) -> _Rows | None:
        """Read the rows of a table, from the first behind those `held`; None where they take more bytes."""
        import pyarrow as pa
        import pyarrow.compute as pc

        fields = [table.schema.field(name) for name in ("key", "modality", *metadata_names(table.schema))]
        schema = pa.schema([*fields, pa.field("_rowid", pa.uint64())])
        parts = [] if held is None else [held._as_scanned().cast(schema)]
        size = sum(part.nbytes for part in parts)
        search = table.search().offset(0 if held is None else len(held.ids))
        for batch in _scan(search, [one.name for one in fields], _SCANNED):
            parts.append(pa.Table.from_batches([batch]).cast(schema))
            size += batch.nbytes
            if size > min(most, _LARGEST):
                return None
        facts = pa.concat_tables([schema.empty_table(), *parts])
        order = pc.sort_indices(facts.column("key"))
        facts = facts.take(order).combine_chunks()
        scanned = np.empty(len(order), np.int64)
        scanned[order.to_numpy()] = np.arange(len(order))
        return cls(facts.drop_columns("_rowid"), _ids_of(facts), scanned)

    def _as_scanned(self) -> Any:
        """The rows with their ids in the order of LanceDB's scan."""
        import pyarrow as pa

        facts = self.facts.append_column("_rowid", pa.array(self.ids.astype(np.uint64)))
        return facts.take(pa.array(self.scanned))

    @property
    def nbytes(self) -> int:
        return int(self.facts.nbytes) + 3 * self.ids.nbytes

    def find(self, ids: Positions) -> Positions:
        """Find the places of rows by their ids; -1 for those that aren't there."""
        if not len(self.ids):
            return np.full(len(ids), -1)
        at = self._order[np.minimum(np.searchsorted(self.ids, ids, sorter=self._order), len(self.ids) - 1)]
        return np.where(self.ids[at] == ids, at, -1)


class _Filling:
    """The blocks of a snapshot while they are filled, with vectors of an older one and then of the table."""

    def __init__(self, rows: _Rows, held: Sequence[_Block]) -> None:
        self._rows = rows
        self._has = np.zeros(len(rows.ids), bool)
        self._blocks: list[_Block] = []
        self._loose: list[tuple[Positions, Vectors]] = []  # places and vectors [n, dim] of no block yet
        self._count = 0
        for block in held:
            self._keep(block)

    @property
    def is_complete(self) -> bool:
        """Whether all rows have their vectors."""
        return bool(self._has.all())

    def run(self, table: Any) -> list[_Block]:
        """Read what is missing, and make blocks of it."""
        missing = ~self._has[self._rows.scanned]  # in the order of the scan, whose end has what is new
        if missing.any():
            for batch in _scan(table.search().offset(int(missing.argmax())), ["vector"], BLOCK_ROWS):
                places = self._rows.find(_ids_of(batch))
                new = np.flatnonzero(~self._has[places] & (places >= 0))
                self._add(places[new], vectors_of(batch.column("vector"))[new])
        self._cut(1)
        return self._blocks

    def _keep(self, block: _Block) -> None:
        """Take over a block, unless it is small or many of its rows are gone: then its rows move."""
        places = self._rows.find(block.ids)
        there = places >= 0
        if len(places) >= BLOCK_ROWS // 2 and 3 * len(places) <= 4 * np.count_nonzero(there):
            self._has[places[there]] = True
            ascending = np.maximum.accumulate(np.maximum(places, 0))
            self._blocks.append(replace(block, places=ascending, there=None if there.all() else there))
        else:
            self._add(places[there], block.vectors[:, there].T)

    def _add(self, places: Positions, vectors: Vectors) -> None:
        self._has[places] = True
        self._loose.append((places, vectors))
        self._count += len(places)
        self._cut(BLOCK_ROWS)

    def _cut(self, least: int) -> None:
        """Make blocks while there are so many rows for one."""
        if self._count < least:
            return
        places = np.concatenate([part[0] for part in self._loose])
        vectors = np.concatenate([part[1] for part in self._loose])
        self._loose.clear()
        self._count = 0
        for start in range(0, len(places), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            if len(places[part]) < least:
                self._add(places[part], vectors[part])
                continue
            order = np.argsort(places[part])
            sorted_places = places[part][order]
            lying = np.ascontiguousarray(vectors[part][order].T)
            self._blocks.append(_Block(self._rows.ids[sorted_places], lying, sorted_places, None))


def _ids_of(rows: Any) -> Positions:
    """The ids of rows, which fit into 63 bits as long as there are fewer than 2^31 fragments."""
    ids: Positions = rows.column("_rowid").to_numpy().astype(np.int64)
    return ids


def _scan(search: Any, names: Sequence[str], count: int) -> Iterator[Any]:
    """Iterate over these columns and the ids of rows, `count` rows at a time."""
    with suppress(StopIteration):  # which LanceDB lets through, and a generator may not raise
        yield from search.with_row_id(True).select(list(names)).to_batches(count)
