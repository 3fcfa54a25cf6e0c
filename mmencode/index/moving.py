"""The rows of an index on their way into a draft of its next edition: encoded or mapped, and committed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..embeddings.embeddings import Embeddings
from ..embeddings.multi import MultiEmbeddings
from ..embeddings.surrogates import escape_surrogates
from ..errors import InputError
from ..spaces.space import Space
from .claim import Claim
from .columns import failure_schema
from .draft import Draft
from .filling import CHUNK, CHUNK_OF_MANY, group_for_commit
from .full_text import FullText, read_full_text
from .ledger import ENCODE, LOST, MAP
from .maps import apply_map
from .origins import Origin
from .store import Store
from .surveying import GROUP, Facts, Surveyed, Surveyor

Sent = dict[int, tuple[Facts, Origin]]


class Moving:
    """Brings the rows of a store into a draft, in passes: each does what is left, or has changed since.

    lost        rows that the last pass left out, as its survey found them
    troubles    rows that couldn't be encoded in the last pass, and weren't lost at its survey
    """

    lost: list[Surveyed]
    troubles: list[Surveyed]

    def __init__(
        self,
        store: Store,
        surveyor: Surveyor,
        target: Space,
        draft: Draft,
        *,
        unverified: bool,
        progress: bool,
    ) -> None:
        self._store, self._surveyor, self._target, self._draft = store, surveyor, target, draft
        self._unverified, self._progress = unverified, progress
        self._surveys = 0
        self._versions: tuple[int, int] | None = None
        self.lost, self.troubles = [], []

    @property
    def is_current(self) -> bool:
        """Whether nobody has written to the store since the last survey."""
        return self._versions == self._read_versions()

    def survey(self) -> None:
        """Look at all rows, and note what is to become of each."""
        self._versions = self._read_versions()
        self._surveys += 1
        self.lost = []
        for group in self._surveyor.rows(self._draft.ledger):
            rows = [self._take(row) for row in group]
            self.lost += [row for row in rows if row.way == LOST]
            self._draft.ledger.note(
                [(row.facts.key, row.facts.modality, row.way, row.facts.digest) for row in rows],
                self._surveys,
            )

    def bring(self) -> None:
        """Bring across what isn't done, and take away what the store has no longer."""
        self.troubles = []
        for modality in self._surveyor.modalities:
            if modality in self._surveyor.maps:
                self._map(modality)
            elif modality not in self._surveyor.refused:
                self._encode(modality)
        gone = [*self._draft.ledger.forget_others(self._surveys), *self._draft.ledger.keys_left_out()]
        with self._draft.store.writing() as writer:
            writer.delete_rows(gone)
            writer.copy_failures(self._gather_failures())
            writer.build_full_text(self._find_full_text())

    def count_done(self, way: str) -> dict[str, int]:
        """Count the rows by modality that came into the draft in a way."""
        return self._draft.ledger.count_done(way)

    def _take(self, row: Surveyed) -> Surveyed:
        """Count a row as lost whose item may have changed, unless such rows are taken."""
        if row.verified or self._unverified:
            return row
        return Surveyed(row.facts, LOST, "nothing tells whether its item is still the same")

    def _read_versions(self) -> tuple[int, int]:
        with self._store.reading():
            tables = self._store.tables
            return tables.rows.version, tables.failures.version

    def _encode(self, modality: str) -> None:
        """Encode the items of a modality's rows, a chunk at a time, and commit them every few seconds.

        In the order of the keys, so that chunks after an interruption are those of a run without any.
        """
        sent: Sent = {}
        items = self._draw(modality, sent)
        first = next(items, None)
        if first is None:  # then no encoder need be loaded
            return
        for parts in group_for_commit(self._stream(modality, _chain(first, items))):
            self._commit_parts(modality, parts, sent)

    def _stream(self, modality: str, items: Iterable[Any]) -> Any:
        layout = self._draft.store.layout
        options: dict[str, Any] = {"on_error": "skip", "progress": self._progress}
        if not layout.many:
            return self._target.stream(modality, items, role="document", chunk=CHUNK, **options)
        return self._target.stream_multi(
            modality,
            items,
            role="document",
            pool=layout.pool,
            protected=layout.protected,
            chunk=CHUNK_OF_MANY,
            **options,
        )

    def _draw(self, modality: str, sent: Sent) -> Iterator[tuple[Any]]:
        """Iterate over the items that are to be encoded, and put each into `sent` under its position.

        Rows that were changed since the survey are left for the next pass.
        """
        count = 0
        for noted in self._draft.ledger.rows_to_do(ENCODE, modality, GROUP):
            rows, _ = self._surveyor.read(list(noted))
            rows = sorted((row for row in rows if noted[row.key] == row.digest), key=_by_key)
            for row, origin in zip(rows, self._surveyor.find_origins(rows), strict=True):
                if origin.state == "lost":
                    self.troubles.append(Surveyed(row, LOST, origin.reason))
                    continue
                sent[count] = (row, origin)
                count += 1
                yield (origin.item,)

    def _commit_parts(self, modality: str, parts: Sequence[Any], sent: Sent) -> None:
        """Write the rows of these parts, and note their failures."""
        rows = [sent.pop(place) for part in parts for place in part.positions.tolist()]
        kept = [place for place, (_, origin) in enumerate(rows) if origin.is_unchanged]
        for place in sorted(set(range(len(rows))) - set(kept)):
            self.troubles.append(Surveyed(rows[place][0], LOST, "its file was changed while it was encoded"))
        if kept:
            found: Any = type(parts[0]).concatenate(parts)
            chosen = found if len(kept) == len(rows) else found[kept]
            self._commit(modality, [rows[place][0] for place in kept], chosen)
        self._note_failures(
            [(sent.pop(error.index or 0)[0], error) for part in parts for error in part.errors]
        )

    def _note_failures(self, failed: Sequence[tuple[Facts, InputError]]) -> None:
        """Note rows that can't be encoded; raise a lack of the process, which is no property of a row."""
        for _, error in failed:
            if error.fault == "process":
                raise error
        self.troubles += [Surveyed(row, LOST, error.fact, error.fault) for row, error in failed]
        self._draft.ledger.fail([(row.key, row.digest, error.fact, error.fault) for row, error in failed])

    def _map(self, modality: str) -> None:
        """Map the vectors of a modality's rows."""
        for noted in self._draft.ledger.rows_to_do(MAP, modality, GROUP):
            rows, vectors = self._surveyor.read(list(noted))
            places = [place for place, row in enumerate(rows) if noted[row.key] == row.digest]
            if places and vectors is not None:
                mapped = apply_map(self._surveyor.maps[modality], vectors[places])
                found = Embeddings(mapped, space=self._target.id, modality=modality)
                self._commit(modality, [rows[place] for place in places], found)

    def _commit(self, modality: str, rows: Sequence[Facts], embeddings: Embeddings | MultiEmbeddings) -> None:
        """Write rows into the draft, and then note them as done: one killed in between writes them again."""
        import pyarrow as pa

        schema = self._store.tables.rows.schema
        schema = pa.schema([field for field in schema if field.name != "vector"])
        table = pa.Table.from_pylist([dict(row.values) for row in rows], schema=schema)
        with self._draft.store.writing() as writer:
            Claim(self._draft.folder, self._draft.store, self._target, modality).require()
            writer.copy_rows(table, embeddings)
        self._draft.ledger.finish([(row.key, row.digest) for row in rows])

    def _find_full_text(self) -> list[FullText]:
        """Find the columns whose words the store finds, and the draft doesn't, or finds otherwise."""
        with self._store.reading():
            wanted = read_full_text(self._store.rows)
        with self._draft.store.reading():
            held = read_full_text(self._draft.store.rows)
        return [each for each in wanted if each not in held]

    def _gather_failures(self) -> Any:
        """Gather the failures of the store, and the rows that are left out, as failures of the draft."""
        import pyarrow as pa

        with self._store.reading():
            held = self._store.failures.search().to_arrow().to_pylist()
        failures = {row["key"]: row for row in held}
        for row in self.lost:
            values = row.facts.values
            facts = {name: values[name] for name in ("key", "modality", "_hash", "_size", "_time")}
            reason = escape_surrogates(f"left out of a migration: {row.reason}")
            failures[row.facts.key] = {**facts, "reason": reason, "fault": row.fault}
        return pa.Table.from_pylist(list(failures.values()), schema=failure_schema())


def _chain(first: tuple[Any], rest: Iterator[tuple[Any]]) -> Iterator[Any]:
    yield first[0]
    for (item,) in rest:
        yield item


def _by_key(row: Facts) -> bytes:
    return row.key.encode()
