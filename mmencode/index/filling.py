"""From entries to rows: what is unchanged is passed over, the rest is encoded and committed a part at a time.

A failure is written before its stale row is deleted, and a row before its stale failure is: whoever is killed
between the two leaves a key in both tables, and the one that has the hash of the content counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice

from ..embeddings.embeddings import Embeddings
from ..embeddings.surrogates import escape_surrogates
from ..engine.engine import OnError
from ..engine.workers import Work, in_order
from ..errors import InputError
from ..spaces.space import Space
from .entries import Entry, Source, looks_same, same
from .results import Added, Failure
from .store import BLOCK, Known, Store, another_modality
from .writing import Block, Line, write_failures, write_rows, write_sources

CHUNK = 256  # items that are encoded at once
SECONDS, MOST = 2.0, 8192  # a commit comes after so long, or after so many items
PAUSE = 0.5  # seconds after which items that come slowly are looked up


@dataclass(slots=True)
class Filling:
    """One addition of items of one modality; its numbers grow with each `run`."""

    store: Store
    space: Space
    modality: str
    on_error: OnError
    retry: bool = False
    progress: bool = False
    added: int = 0
    unchanged: int = 0
    replaced: int = 0
    failed: list[Failure] = field(default_factory=list)

    def run(self, entries: Iterable[Entry]) -> Added:
        """Encode and write; InputError for the first item that fails where on_error is "raise"."""
        self.space.spec(self.modality)
        sent: dict[int, Line] = {}
        fresh = self._fresh(entries, sent)
        first = list(islice(fresh, 1))
        if not first:  # then no encoder need be loaded
            return self._done()
        parts = self.space.stream(
            self.modality,
            chain(first, fresh),
            chunk=CHUNK,
            on_error=self.on_error,
            progress=self.progress,
        )
        try:
            for held in _batches(parts):
                self._commit(held, sent)
        except InputError as error:
            if error.index in sent:
                error.at(sent[error.index].entry.place)
            raise
        return self._done()

    def _done(self) -> Added:
        return Added(self.added, self.unchanged, tuple(self.failed), replaced=self.replaced)

    def _fresh(self, entries: Iterable[Entry], sent: dict[int, Line]) -> Iterator[object]:
        """The items that must be encoded; `sent` has them by their place in the stream."""
        count = 0
        for block in _blocks(entries):
            for line in self._changed(block):
                sent[count] = line
                count += 1
                yield line.entry.item

    def _changed(self, block: Sequence[Entry]) -> list[Line]:
        """Those of the block whose content isn't known; the others are counted, and put in order."""
        keys = [escape_surrogates(entry.key) for entry in block]
        rows, failures = self.store.known(keys)
        changed: list[Line] = []
        touched: list[Line] = []
        stale_rows: list[str] = []
        stale_failures: list[str] = []
        looked = [
            _Look(entry, rows.get(key), failures.get(key)) for entry, key in zip(block, keys, strict=True)
        ]
        for key, look, source in zip(keys, looked, self._sources(looked), strict=True):
            entry, row, failure = look.entry, look.row, look.failure
            line = Line(entry, source, row)
            if row and row.modality != entry.modality:
                raise another_modality(entry.key, row.modality, entry.modality)
            if row and same(row, line.source):
                self.unchanged += 1
                stale_failures += [key] * bool(failure)
                touched += [line] * _is_news(row, line)
            elif failure and not self._again(entry, failure, line.source):
                self.failed.append(Failure(entry.key, entry.modality, failure.reason or "", failure.fault))
                stale_rows += [key] * bool(row)
            else:
                changed.append(line)
        self._tidy(touched, stale_rows, stale_failures)
        return changed

    def _sources(self, looked: Sequence[_Look]) -> Iterator[Source]:
        """Where each item's content is from, found in threads, since a share that hangs may hold files.

        One that takes longer than the limit has no hash, so that the encoder's reader says what is wrong.
        """
        limits, runtime = self.space.limits, self.space.runtime
        work = Work(
            do=lambda _, look: look.source(limits.bytes),
            late=lambda _, look: Source(),
            size=lambda source: 0,
            seconds=limits.wait,
            threads=runtime.workers,
            ahead=len(looked),
            nbytes=runtime.window_bytes,
        )
        return in_order(looked, work)

    def _again(self, entry: Entry, failure: Known, source: Source) -> bool:
        """Whether an item that failed is to be tried again: always, unless its own content is at fault."""
        if self.retry or self.on_error == "raise" or failure.fault != "content":
            return True
        return failure.modality != entry.modality or not same(failure, source)

    def _tidy(self, touched: list[Line], stale_rows: list[str], stale_failures: list[str]) -> None:
        if touched or stale_rows or stale_failures:
            with self.store.writing():
                write_sources(self.store, touched)
                self.store.delete(self.store.rows, stale_rows)
                self.store.delete(self.store.failures, stale_failures)

    def _commit(self, parts: Sequence[Embeddings], sent: dict[int, Line]) -> None:
        """Write what these parts have, rows and failures."""
        places = [place for part in parts for place in part.positions.tolist()]
        errors = [error for part in parts for error in part.errors]
        lines = [sent[place] for place in places]
        wrong = [(sent[error.index or 0], error) for error in errors]
        with self.store.writing():
            # What the process lacks, memory say, is no property of the item, and would be untrue tomorrow.
            write_failures(self.store, [(line, error) for line, error in wrong if error.fault != "process"])
            if lines:
                vectors = Embeddings.concatenate(parts).vectors
                self.replaced += write_rows(self.store, Block.of(lines), vectors)
        for place in [*places, *(error.index or 0 for error in errors)]:
            del sent[place]
        self.added += len(lines)
        self.failed += [
            Failure(line.entry.key, line.entry.modality, error.fact, error.fault) for line, error in wrong
        ]


@dataclass(frozen=True, slots=True)
class _Look:
    """An item, and the row and the failure that its key has."""

    entry: Entry
    row: Known | None
    failure: Known | None

    def source(self, most: int) -> Source:
        """Where the content is from; it is read unless size and time are those of the one that is known."""
        stated = self.entry.stated()
        if self.row is None or self.failure is None:
            known = self.row or self.failure
            if known is not None and looks_same(known, stated):
                return replace(stated, hash=known.hash)
        return self.entry.read(most)


def _blocks(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """As many as are looked up at once, or fewer where they come slowly."""
    block: list[Entry] = []
    start = time.monotonic()
    for entry in entries:
        block.append(entry)
        if len(block) == BLOCK or time.monotonic() - start > PAUSE:
            yield block
            block, start = [], time.monotonic()
    if block:
        yield block


def _is_news(row: Known, line: Line) -> bool:
    """Whether an unchanged row has another file time, or other metadata, than it had."""
    source, said = line.source, line.entry.metadata
    known = {name: value for name, value in (said or {}).items() if value is not None}
    return (row.size, row.time) != (source.size, source.time) or (said is not None and known != row.metadata)


def _batches(parts: Iterator[Embeddings]) -> Iterator[list[Embeddings]]:
    """The parts of a few seconds at a time; what comes before an error is given before it is raised."""
    held: list[Embeddings] = []
    failure: Exception | None = None
    start = time.monotonic()
    try:
        for part in parts:
            held.append(part)
            if time.monotonic() - start > SECONDS or CHUNK * len(held) >= MOST:
                yield held
                held, start = [], time.monotonic()
    except Exception as cause:
        failure = cause
    if held:
        yield held
    if failure is not None:
        raise failure
