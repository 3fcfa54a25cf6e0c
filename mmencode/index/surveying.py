"""The survey of an index before it moves to another space: what is to become of each row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..embeddings.array_types import Vectors
from ..embeddings.surrogates import unescape_surrogates
from ..engine.feeding import Pace
from ..engine.workers import in_order
from ..errors import Fault, MmencodeError
from ..projection import Projection
from ..spaces.space import Space
from .claim import require_documents
from .columns import metadata_of, vectors_of
from .entries import KEPT
from .layout import Layout
from .ledger import ENCODE, LOST, MAP, Ledger, Settled
from .maps import PROVEN, apply_map, counts_directions, find_maps
from .origins import Origin, Origins
from .sql import is_one_of
from .stamps import ContentStamp
from .store import Store

GROUP = 1024  # rows that are looked at together
_PROOFS = 8  # rows that are encoded to compare a map with


@dataclass(frozen=True, slots=True)
class Facts:
    """A row as the index has it, but for its vector; the digest is over that, too, where it is mapped."""

    values: Mapping[str, Any]
    digest: bytes
    text: str | None

    @property
    def key(self) -> str:
        """The escaped key of the row."""
        return str(self.values["key"])

    @property
    def modality(self) -> str:
        """The modality of the row."""
        return unescape_surrogates(self.values["modality"])

    @property
    def stamp(self) -> ContentStamp:
        """The stamp of the item's content."""
        return ContentStamp(self.values["_hash"], self.values["_size"], self.values["_time"])


@dataclass(frozen=True, slots=True)
class Surveyed:
    """The verdict on a row: how it comes across, or why it is lost; and whether it is done already.

    `verified` says whether the item is certainly that of the row.
    """

    facts: Facts
    way: str
    reason: str = ""
    fault: Fault = "access"
    verified: bool = True
    done: bool = False


class Surveyor:
    """Looks at all rows of an index that is to move to another space; nothing is changed.

    `maps` are those by which rows of a modality go without being encoded, `refused` says why those of others
    can't go at all.
    """

    modalities: tuple[str, ...]

    def __init__(self, store: Store, card: Any, target: Space, layout: Layout, origins: Origins) -> None:
        self._store, self._target, self._origins = store, target, origins
        self.modalities = store.modalities()
        self.refused: dict[str, str] = {}
        for modality in self.modalities:
            try:
                require_documents(target, modality)
            except MmencodeError as error:
                self.refused[modality] = error.fact
        self.maps: dict[str, Projection] = {}
        if not (store.layout.many or layout.many):
            self.maps = self._prove(find_maps(card, target, set(self.modalities) - set(self.refused)))

    def rows(self, ledger: Ledger | None = None) -> Iterator[list[Surveyed]]:
        """Iterate over all rows, in groups, with what a ledger knows of them."""
        for facts in self._scan():
            settled = {} if ledger is None else ledger.find_settled([row.key for row in facts])
            yield self._judge(facts, settled)

    def read(self, keys: Sequence[str]) -> tuple[list[Facts], Vectors | None]:
        """Read the rows with these escaped keys, with the vectors of all if they are to be mapped."""
        with self._store.reading():
            search = self._store.rows.search().where(is_one_of("key", keys))
            table = search.select(self._names(vector=bool(self.maps))).to_arrow()
        vectors = vectors_of(table.column("vector")) if self.maps else None
        return self._facts(table, vectors), vectors

    def find_origins(self, rows: Sequence[Facts]) -> list[Origin]:
        """Find the items of rows, in threads, since files may be on a network share that hangs."""
        limits, runtime = self._target.limits, self._target.runtime
        pace = Pace(
            seconds=limits.wait,
            threads=runtime.workers,
            ahead=max(1, len(rows)),
            nbytes=runtime.window_bytes,
        )
        return list(in_order(rows, _FindOrigins(self._origins), pace))

    def sample(self, modality: str, count: int, *, lost: bool = False) -> list[tuple[Facts, Origin]]:
        """Draw rows of a modality from all over the index, with their items; the `lost` last, if at all."""
        every = max(1, self._store.count(modality) // (4 * count))
        picked: list[Facts] = []
        rows = (row for group in self._scan(vector=False) for row in group if row.modality == modality)
        for place, row in enumerate(rows):
            if place % every == 0:
                picked.append(row)
            if len(picked) == 8 * count:
                break
        pairs = zip(picked, self.find_origins(picked), strict=True)
        found = [(row, origin) for row, origin in pairs if lost or origin.state != "lost"]
        return sorted(found, key=lambda pair: pair[1].state != "same")[:count]

    def _scan(self, *, vector: bool = True) -> Iterator[list[Facts]]:
        with self._store.reading():
            with_vectors = vector and bool(self.maps)
            names = self._names(vector=with_vectors)
            for batch in self._store.rows.search().select(names).to_batches(GROUP):
                vectors = vectors_of(batch.column("vector")) if with_vectors else None
                yield self._facts(batch, vectors)

    def _names(self, *, vector: bool) -> list[str]:
        return [name for name in self._store.tables.rows.schema.names if vector or name != "vector"]

    def _facts(self, table: Any, vectors: Vectors | None) -> list[Facts]:
        import pyarrow as pa

        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        if "vector" in table.schema.names:
            table = table.drop_columns(["vector"])
        texts: list[Any] = [None] * table.num_rows
        if KEPT in table.schema.names and table.schema.field(KEPT).type == pa.string():
            texts = [row.get(KEPT) for row in metadata_of(table.select([KEPT]))]
        found = []
        for place, (values, text) in enumerate(zip(table.to_pylist(), texts, strict=True)):
            total = hashlib.blake2b(digest_size=16)
            said = sorted((name, value) for name, value in values.items() if value is not None)
            total.update(repr(said).encode("utf-8", "surrogatepass"))
            if vectors is not None and unescape_surrogates(values["modality"]) in self.maps:
                total.update(np.ascontiguousarray(vectors[place]).tobytes())
            found.append(Facts(values, total.digest(), text if isinstance(text, str) else None))
        return found

    def _judge(self, rows: Sequence[Facts], settled: Mapping[str, Settled]) -> list[Surveyed]:
        """Say what is to become of each row."""
        judged: dict[str, Surveyed] = {}
        asked = []
        for row in rows:
            known = settled.get(row.key, Settled())
            done = known.done == row.digest
            if row.modality in self.refused:
                judged[row.key] = Surveyed(row, LOST, self.refused[row.modality], "encoder")
            elif row.modality in self.maps:
                judged[row.key] = Surveyed(row, MAP, done=done)
            elif done:
                judged[row.key] = Surveyed(row, ENCODE, done=True)
            elif known.failed == row.digest and known.lasts:
                judged[row.key] = Surveyed(row, LOST, known.reason, known.fault)
            else:
                asked.append(row)
        for row, origin in zip(asked, self.find_origins(asked), strict=True):
            way = LOST if origin.state == "lost" else ENCODE
            judged[row.key] = Surveyed(row, way, origin.reason, verified=origin.state != "unverified")
        return [judged[row.key] for row in rows]

    def _prove(self, maps: dict[str, Projection]) -> dict[str, Projection]:
        """Keep the maps that give what encoding gives, as far as there are items to compare."""
        kept = {}
        for modality, projection in maps.items():
            drawn = self.sample(modality, _PROOFS, lost=True)
            held = self._read_vectors([row.key for row, _ in drawn])
            if not counts_directions(projection, held):
                continue
            pairs = [pair for pair in drawn if pair[1].state == "same"]
            if pairs:
                keys = [row.key for row, _ in pairs]
                found = self._target.encode(
                    modality, [origin.item for _, origin in pairs], role="document", on_error="skip"
                )
                held = self._read_vectors([keys[place] for place in found.positions])
                cosines = (apply_map(projection, held) * found.vectors).sum(axis=1)
                if len(cosines) and float(cosines.min()) < PROVEN:
                    continue
            kept[modality] = projection
        return kept

    def _read_vectors(self, keys: Sequence[str]) -> Vectors:
        """Read the vectors of rows, in the order of their keys."""
        with self._store.reading():
            search = self._store.rows.search().where(is_one_of("key", keys) if keys else "false")
            table = search.select(["key", "vector"]).to_arrow()
        places = {key: place for place, key in enumerate(table.column("key").to_pylist())}
        return vectors_of(table.column("vector"))[[places[key] for key in keys]]


class _FindOrigins:
    """The work of threads that find the items of rows."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    def do(self, index: int, row: Facts) -> Origin:
        """Find the item of a row, whose file is read where that is needed."""
        return self._origins.find(row.modality, unescape_surrogates(row.key), row.stamp, row.text)

    def give_up(self, index: int, row: Facts) -> Origin:
        """Say that an item can't be looked at in time."""
        return Origin("lost", reason="its file takes too long to read")

    def lose(self, index: int, row: Facts) -> Origin:
        """Say that an item can't be looked at."""
        return Origin("lost", reason="its file can't be read")

    def weigh(self, origin: Origin) -> int:
        """Count an origin as no bytes, since it is small."""
        return 0
