"""The addition of items: unchanged ones are passed over, the others encoded and committed every few seconds.

A failure is written before its stale row is deleted, and a row before its stale failure is: a process that is
killed in between leaves a key in both tables. Then the entry with the hash of the item's content is right.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

from ..embeddings.embeddings import Embeddings
from ..embeddings.multi import MultiEmbeddings
from ..embeddings.surrogates import escape_surrogates
from ..engine.call import OnError
from ..engine.deferring import Deferred
from ..engine.feeding import Pace
from ..engine.workers import in_order
from ..errors import InputError
from ..plugins.composites import is_composite
from ..spaces.space import Space
from .claim import Claim
from .entries import Entry
from .pending import NewRows, Pending
from .results import Added, Failure
from .stamps import ContentStamp
from .store import Store
from .tables import KEYS_IN_CONDITION, Stored
from .writer import another_modality

CHUNK, CHUNK_OF_MANY = 256, 64  # items that are encoded at once, of one vector each and of many
SECONDS, MOST, HEAVIEST = 2.0, 8192, 2**28  # a commit comes after so long, or so many items or bytes
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
    claim: Claim | None = None
    added: int = 0
    unchanged: int = 0
    replaced: int = 0
    failed: list[Failure] = field(default_factory=list)

    def run(self, entries: Iterable[Entry]) -> Added:
        """Encode and write entries; InputError for the first that fails where `on_error` is "raise"."""
        self.space.spec(self.modality)
        sent: dict[int, Pending] = {}
        changed = self._send_changed(entries, sent)
        first = list(islice(changed, 1))
        if not first:  # then no encoder need be loaded
            return self._result()
        try:
            for group in group_for_commit(self._encode(chain(first, changed))):
                self._commit(group, sent)
        except InputError as error:
            if error.index in sent:
                error.at(sent[error.index].entry.place)
            raise
        return self._result()

    def _encode(self, items: Iterable[object]) -> Iterator[Embeddings] | Iterator[MultiEmbeddings]:
        """Encode items as the index keeps them, a chunk at a time."""
        layout, on_error, progress = self.store.layout, self.on_error, self.progress
        if not layout.many:
            return self.space.stream(
                self.modality,
                items,
                role="document",
                chunk=CHUNK,
                on_error=on_error,
                progress=progress,
            )
        return self.space.stream_multi(
            self.modality,
            items,
            role="document",
            pool=layout.pool,
            protected=layout.protected,
            chunk=CHUNK_OF_MANY,
            on_error=on_error,
            progress=progress,
        )

    def _result(self) -> Added:
        return Added(self.added, self.unchanged, tuple(self.failed), replaced=self.replaced)

    def _send_changed(self, entries: Iterable[Entry], sent: dict[int, Pending]) -> Iterator[object]:
        """Yield the items that must be encoded, and put each into `sent` under its position in the stream."""
        count = 0
        for group in _group_for_lookup(entries):
            for pending in self._find_changed(group):
                sent[count] = pending
                count += 1
                yield pending.entry.item

    def _find_changed(self, entries: Sequence[Entry]) -> list[Pending]:
        """Find the entries whose content is new; count the others, and correct what is stored of them."""
        keys = [escape_surrogates(entry.key) for entry in entries]
        rows, failures = self.store.tables.look_up(keys)
        changed: list[Pending] = []
        moved: list[Pending] = []
        broken: list[tuple[Pending, InputError]] = []
        stale_rows: list[str] = []
        stale_failures: list[str] = []
        looks = [
            _Look(entry, rows.get(key), failures.get(key)) for entry, key in zip(entries, keys, strict=True)
        ]
        for key, look, stamp in zip(keys, looks, self._take_stamps(looks), strict=True):
            entry, row, failure = look.entry, look.row, look.failure
            pending = Pending(entry, stamp, row)
            if row and row.modality != entry.modality:
                raise another_modality(entry.key, row.modality, entry.modality)
            if entry.error is not None:
                self._note_error(pending, entry.error)
                broken.append((pending, entry.error))
            elif row and row.stamp.has_content_of(stamp):
                self.unchanged += 1
                stale_failures += [key] * bool(failure)
                moved += [pending] * pending.differs
            elif failure and not self._is_tried_again(entry, failure, stamp):
                self.failed.append(Failure(entry.key, entry.modality, failure.reason or "", failure.fault))
                stale_rows += [key] * bool(row)
            else:
                changed.append(pending)
        self._tidy(moved, broken, stale_rows, stale_failures)
        return changed

    def _take_stamps(self, looks: Sequence[_Look]) -> Iterator[ContentStamp]:
        """Take the stamp of each item, in threads, since files may be on a network share that hangs.

        One that takes longer than the limit gets an empty stamp: it counts as changed, and the encoder's
        reader then says what is wrong.
        """
        limits, runtime = self.space.limits, self.space.runtime
        pace = Pace(
            seconds=limits.wait, threads=runtime.workers, ahead=len(looks), nbytes=runtime.window_bytes
        )
        return in_order(looks, _TakeStamps(limits.bytes), pace)

    def _is_tried_again(self, entry: Entry, failure: Stored, stamp: ContentStamp) -> bool:
        """Whether to encode an item that failed before: always, unless its own content is at fault."""
        if self.retry or self.on_error == "raise" or failure.fault != "content":
            return True
        return failure.modality != entry.modality or not failure.stamp.has_content_of(stamp)

    def _note_error(self, pending: Pending, error: InputError) -> None:
        """Count an item as failed; raises the error where that was asked for."""
        if self.on_error == "raise":
            raise error.at(pending.entry.place)
        self.failed.append(Failure(pending.entry.key, pending.entry.modality, error.fact, error.fault))

    def _with_source(self, error: InputError) -> InputError:
        """Add the source of the part at fault to an item's error, since its key needn't name it."""
        if not is_composite(self.modality) or not error.source:
            return error
        told = copy(error)
        told.fact = f"{error.fact} ({error.source})"
        return told

    def _tidy(
        self,
        moved: list[Pending],
        broken: list[tuple[Pending, InputError]],
        stale_rows: list[str],
        stale_failures: list[str],
    ) -> None:
        if moved or broken or stale_rows or stale_failures:
            with self.store.writing() as writer:
                writer.put_stamps(moved)
                writer.put_failures([each for each in broken if each[1].fault != "process"])
                writer.delete_rows(stale_rows)
                writer.delete_failures(stale_failures)

    def _commit(self, parts: Sequence[Any], sent: dict[int, Pending]) -> None:
        """Write the rows and failures of these parts, and take their items out of `sent`."""
        places = [place for part in parts for place in part.positions.tolist()]
        errors = [error for part in parts for error in part.errors]
        encoded = [sent[place] for place in places]
        failed = [(sent[error.index or 0], self._with_source(error)) for error in errors]
        with self.store.writing() as writer:
            # A lack of the process, of memory say, is no property of the item, so it isn't stored as one.
            writer.put_failures([(pending, error) for pending, error in failed if error.fault != "process"])
            if encoded:
                if self.claim is not None:  # again, for an index may lose the rows that it had
                    self.claim.require()
                self.replaced += writer.put_rows(NewRows.of(encoded), type(parts[0]).concatenate(parts))
        for place in [*places, *(error.index or 0 for error in errors)]:
            del sent[place]
        self.added += len(encoded)
        self.failed += [
            Failure(pending.entry.key, pending.entry.modality, error.fact, error.fault)
            for pending, error in failed
        ]


@dataclass(frozen=True, slots=True)
class _Look:
    """An entry, and the row and the failure that its key has."""

    entry: Entry
    row: Stored | None
    failure: Stored | None

    def stamp(self, most: int) -> ContentStamp:
        """Take the stamp of the content, which is read unless the file's size and time are as stored."""
        now = self.entry.look()
        if self.row is None or self.failure is None:  # of both, only the content can tell which is right
            stored = self.row or self.failure
            if stored is not None and stored.stamp.is_as_old_as(now):
                known = replace(now, hash=stored.stamp.hash)
                return known if self.entry.file is None else known.with_parts(self.entry.file.parts)
        return self.entry.read(most)


class _TakeStamps:
    """The work of threads that take the stamps of items; an item that is given up gets an empty stamp."""

    def __init__(self, most: int) -> None:
        self._most = most

    def do(self, index: int, look: _Look) -> ContentStamp:
        """Take the stamp of an item, whose content is read where that is needed."""
        return look.stamp(self._most)

    def give_up(self, index: int, look: _Look) -> ContentStamp:
        """Make an empty stamp for an item that takes too long."""
        return ContentStamp()

    def lose(self, index: int, look: _Look) -> ContentStamp:
        """Make an empty stamp for an item whose content can't be read."""
        return ContentStamp()

    def weigh(self, stamp: ContentStamp) -> int:
        """Count a stamp as no bytes, since it is small."""
        return 0


def _group_for_lookup(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Group entries, as many as one condition can have keys, or fewer where they come slowly."""
    group: list[Entry] = []
    start = time.monotonic()
    for entry in entries:
        group.append(entry)
        if len(group) == KEYS_IN_CONDITION or time.monotonic() - start > PAUSE:
            yield group
            group, start = [], time.monotonic()
    if group:
        yield group


def group_for_commit(
    parts: Iterator[Embeddings] | Iterator[MultiEmbeddings],
) -> Iterator[list[Any]]:
    """Group the parts of a few seconds; those that came before an error are yielded before it is raised."""
    source: Deferred[Any] = Deferred(parts)
    group: list[Any] = []
    start = time.monotonic()
    for part in source:
        group.append(part)
        full = CHUNK * len(group) >= MOST or sum(one.vectors.nbytes for one in group) >= HEAVIEST
        if full or time.monotonic() - start > SECONDS:
            yield group
            group, start = [], time.monotonic()
    if group:
        yield group
    source.reraise()
