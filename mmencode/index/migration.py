"""The move of an index to another space: planned, done in steps that may be interrupted, swapped in one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..arguments.brief import Brief
from ..card import SpaceCard, is_same_space
from ..embeddings.surrogates import unescape_surrogates
from ..errors import Fault, StoreError
from ..inputs import Limits
from ..spaces.folder import CARD, read_card
from ..spaces.loading import load
from ..spaces.space import Space
from .draft import Draft, towers_of
from .editions import current_folder, find_unfinished, ledger_of, right_to_swap, tidy
from .identity import require_folder
from .lance import package
from .layout import Layout
from .ledger import ENCODE, LOST, MAP, Ledger
from .moving import Moving
from .origins import Origins
from .store import Store
from .surveying import Surveyed, Surveyor

_LISTED = 3  # rows that a message names
_PASSES = 3  # over what others write meanwhile, before they have to wait for one
_WARM = 2  # items that are encoded before time is taken


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that can't be brought into another space, and why; `fault` is in the terms of `InputError`."""

    key: str
    modality: str
    reason: str
    fault: Fault = "access"


@dataclass(frozen=True, slots=True, repr=False)
class MigrationPlan(Brief):
    """The work that a migration would do, and how long it would take.

    source, target  the ids of the spaces
    encoded     number of rows by modality that are encoded from their items
    mapped      number of rows by modality that a bridge's map takes across, without their items
    done        number of rows that an interrupted migration has done already, among both
    unverified  rows among `encoded` whose items are there, and may have changed: nothing tells that
    lost        rows that can't be brought across, with the reasons
    seconds     that encoding would take, by those of a few items; None where nothing was measured
    """

    source: str
    target: str
    encoded: Mapping[str, int]
    mapped: Mapping[str, int]
    done: int = 0
    unverified: tuple[LeftOut, ...] = ()
    lost: tuple[LeftOut, ...] = ()
    seconds: float | None = None

    @property
    def is_needed(self) -> bool:
        """Whether the spaces differ, so that there is something to do."""
        return not is_same_space(self.source, self.target)


@dataclass(frozen=True, slots=True, repr=False)
class Migrated(Brief):
    """The work that a migration did.

    source, target  the ids of the spaces, which are the same where there was nothing to do
    encoded     number of rows that were encoded from their items
    mapped      number of rows that a bridge's map took across
    left_out    rows that weren't brought across; undoing the migration brings them back
    """

    source: str
    target: str
    encoded: int = 0
    mapped: int = 0
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """The settings of a migration.

    items      by key, in place of those that are looked for
    root       the folder to which keys that are relative paths are relative
    precision  of the new edition, and `pool` and `protected`, as `Index.create` has them; None for those that
               the index has now
    """

    items: Mapping[str, Any]
    root: str | os.PathLike[str] | None = None
    precision: str | None = None
    pool: int | None = None
    protected: int | None = None

    def surveyor(self, store: Store, card: SpaceCard, target: Space) -> Surveyor:
        """Make the surveyor of an index's rows."""
        return Surveyor(store, card, target, self.layout(target, store.layout), self.origins(target.limits))

    def origins(self, limits: Limits) -> Origins:
        """Say where the items of rows are looked for; NotADirectoryError where that is no folder."""
        root = "" if self.root is None else os.path.abspath(os.fsdecode(self.root))
        if root and not os.path.isdir(root):
            raise NotADirectoryError(f"{root} is no folder: name the one that keys are relative to")
        return Origins(self.items, root, limits.bytes)

    def layout(self, target: Space, now: Layout) -> Layout:
        """Choose the layout of the new edition; ValueError for settings that don't fit its space."""
        many = any(spec.outputs == "many" for spec in target.specs.values())
        kept = now if many and now.many else Layout()
        return Layout.of(
            target,
            kept.precision if self.precision is None else self.precision,
            kept.pool if self.pool is None else self.pool,
            kept.protected if self.protected is None else self.protected,
        )


def plan_migration(
    path: str | os.PathLike[str],
    space: Space | str,
    *,
    items: Mapping[str, Any] | None = None,
    root: str | os.PathLike[str] | None = None,
    precision: str | None = None,
    pool: int | None = None,
    protected: int | None = None,
    sample: int = 0,
) -> MigrationPlan:
    """Say what `migrate` would do with an index, and change nothing.

    So many items of each modality are encoded as a `sample`, to say how long it would take. Everything else
    is as in `migrate`, which raises the same errors.
    """
    wishes = Wishes(items=items or {}, root=root, precision=precision, pool=pool, protected=protected)
    with _opening(path, space) as (index, card, target):
        if is_same_space(card.id, target.id):
            return MigrationPlan(card.id, card.id, {}, {})
        store = Store(current_folder(index), card.fingerprint)
        surveyor = wishes.surveyor(store, card, target)
        with _reading_ledger(index) as ledger:
            return _plan(surveyor, card, target, ledger, sample)


def migrate(
    path: str | os.PathLike[str],
    space: Space | str,
    *,
    drop: bool = False,
    unverified: bool = False,
    items: Mapping[str, Any] | None = None,
    root: str | os.PathLike[str] | None = None,
    precision: str | None = None,
    pool: int | None = None,
    protected: int | None = None,
    progress: bool = False,
) -> Migrated:
    """Move an index to another space: all its rows are made anew, and then swapped in one step.

    Rows are encoded from their files, from texts that are kept beside their keys or are the keys, or from the
    `items` given by key. Content that changed since it was added isn't taken. Where the space is a bridge out
    of the index's own, as `bridge` makes them, its map takes the rows across without their items, and the
    edition's record says so. Keys, metadata and failures stay as they are. Keys that are relative paths are
    relative to `root`. `precision`, `pool` and `protected` are as in `Index.create`, by default those of the
    index.

    What can't be brought across is found out first, and refused unless `drop` leaves it out; rows that were
    added as vectors, whose files or texts can't be compared with anything, unless `unverified` takes them.
    Until the swap the index can be searched and written to as ever, and whatever is written meanwhile is
    brought across, too. A migration that was interrupted, however, goes on when it is called again.

    The old rows stay on the disk: `History.undo` brings them back, `History.forget` removes them. An Index
    that was open before goes on reading the old rows, and has to be opened again to write.

    Raises StoreError with what is refused, and for an unfinished migration into another space; BusyError
    while another process migrates the index; ValueError for settings; and as `Index.open`, `load` and
    `Index.add`.
    """
    wishes = Wishes(items=items or {}, root=root, precision=precision, pool=pool, protected=protected)
    with _opening(path, space) as (index, card, target):
        if is_same_space(card.id, target.id):
            return Migrated(card.id, card.id)
        with right_to_swap(index):
            store = Store(current_folder(index), card.fingerprint, index=index)
            surveyor = wishes.surveyor(store, card, target)
            layout = wishes.layout(target, store.layout)
            made = index, card, target, layout, towers_of(target, surveyor.modalities)
            draft = Draft.find(*made)
            try:
                plan = _plan(surveyor, card, target, None if draft is None else draft.ledger, 0)
                _require(plan, index, drop=drop, unverified=unverified)
                draft = draft or Draft.make(*made)
                moving = Moving(store, surveyor, target, draft, unverified=unverified, progress=progress)
                done = _Run(store, draft, moving, plan).run()
            finally:
                if draft is not None:
                    draft.close()
            tidy(index)
            return done


class _Run:
    """One run of a migration, from the first pass over all rows to the swap."""

    def __init__(self, store: Store, draft: Draft, moving: Moving, plan: MigrationPlan) -> None:
        self._store, self._draft, self._moving, self._plan = store, draft, moving, plan
        self._known = {each.key for each in (*plan.lost, *plan.unverified)}

    def run(self) -> Migrated:
        """Bring all rows across, and then what others write meanwhile, and swap."""
        self._pass()
        with self._draft.store.writing() as writer:
            writer.compact()
        for _ in range(_PASSES):
            with self._store.writing():
                if self._moving.is_current:
                    return self._swap()
            self._pass()
        with self._store.writing():
            self._pass()
            return self._swap()

    def _pass(self) -> None:
        """Bring across what isn't done; StoreError for rows that are lost, and weren't by the plan."""
        self._moving.survey()
        lost = [_left_out(row) for row in self._moving.lost]
        _require_known([row for row in lost if row.key not in self._known], self._draft.index)
        self._moving.bring()
        _require_known([_left_out(row) for row in self._moving.troubles], self._draft.index)

    def _swap(self) -> Migrated:
        encoded, mapped = self._moving.count_done(ENCODE), self._moving.count_done(MAP)
        left_out = tuple(_left_out(row) for row in self._moving.lost)
        self._draft.publish({"encoded": encoded, "mapped": mapped, "left_out": len(left_out)})
        return Migrated(
            self._plan.source, self._plan.target, sum(encoded.values()), sum(mapped.values()), left_out
        )


@contextmanager
def _opening(path: str | os.PathLike[str], space: Space | str) -> Iterator[tuple[Path, SpaceCard, Space]]:
    """Find an index and its card, and load the space that it is to move to."""
    package("lancedb")
    index = require_folder(path)
    card = read_card(current_folder(index) / CARD)
    target = space if isinstance(space, Space) else load(space)
    try:
        yield index, card, target
    finally:
        if target is not space:
            target.close()


@contextmanager
def _reading_ledger(index: Path) -> Iterator[Ledger | None]:
    """Open the ledger of an unfinished migration; None without one."""
    paths = [path for name in find_unfinished(index) if (path := ledger_of(index, name)).is_file()]
    if not paths:
        yield None
        return
    ledger = Ledger(paths[0])
    try:
        yield ledger
    finally:
        ledger.close()


def _plan(
    surveyor: Surveyor, card: SpaceCard, target: Space, ledger: Ledger | None, sample: int
) -> MigrationPlan:
    counts: dict[str, dict[str, int]] = {ENCODE: {}, MAP: {}}
    todo: dict[str, int] = {}
    lost: list[LeftOut] = []
    unverified: list[LeftOut] = []
    done = 0
    for row in (row for group in surveyor.rows(ledger) for row in group):
        modality = row.facts.modality
        if row.way == LOST:
            lost.append(_left_out(row))
            continue
        counts[row.way][modality] = counts[row.way].get(modality, 0) + 1
        done += row.done
        if row.way == ENCODE and not row.done:
            todo[modality] = todo.get(modality, 0) + 1
        if not row.verified:
            unverified.append(LeftOut(*_name(row), "nothing tells whether its item is still the same"))
    return MigrationPlan(
        source=card.id,
        target=target.id,
        encoded=dict(sorted(counts[ENCODE].items())),
        mapped=dict(sorted(counts[MAP].items())),
        done=done,
        unverified=tuple(unverified),
        lost=tuple(lost),
        seconds=_measure(surveyor, target, todo, sample) if sample else None,
    )


def _measure(surveyor: Surveyor, target: Space, todo: Mapping[str, int], sample: int) -> float:
    """Say how many seconds it takes to encode so many rows of each modality, by those that a few took."""
    total = 0.0
    for modality, count in todo.items():
        items = [origin.item for _, origin in surveyor.sample(modality, sample + _WARM)]
        warm, timed = items[:_WARM], items[_WARM:] or items
        many = target.spec(modality).outputs == "many"
        encode: Any = target.encode_multi if many else target.encode
        encode(modality, warm, role="document", on_error="skip")
        start = time.perf_counter()
        encode(modality, timed, role="document", on_error="skip")
        total += (time.perf_counter() - start) / max(1, len(timed)) * count
    return total


def _require(plan: MigrationPlan, index: Path, *, drop: bool, unverified: bool) -> None:
    """Raise StoreError where rows would be left out, or taken unseen, and the caller hasn't asked for it."""
    if plan.lost and not drop:
        raise StoreError(
            f"{len(plan.lost)} rows can't be brought into {plan.target}: {_list(plan.lost)}",
            culprit=str(index),
            remedy="look at plan_migration(path, space).lost, or `mmencode index migrate --dry-run`; "
            "drop=True, or --drop, leaves them out until the migration is undone",
        )
    if plan.unverified and not (unverified or drop):
        raise StoreError(
            f"{len(plan.unverified)} rows were added as vectors, and nothing tells whether their items are "
            f"still the same: {_list(plan.unverified)}",
            culprit=str(index),
            remedy="unverified=True, or --unverified, encodes the files and texts that are there; drop=True, "
            "or --drop, leaves these rows out until the migration is undone",
        )


def _require_known(rows: Sequence[LeftOut], index: Path) -> None:
    if rows:
        raise StoreError(
            f"{len(rows)} rows can't be brought across that could when the migration began: {_list(rows)}",
            culprit=str(index),
            remedy="call it again, which goes on and says whether that lasts; the index is as it was",
        )


def _list(rows: Sequence[LeftOut]) -> str:
    named = "; ".join(f"{row.key!r:.200} ({row.reason:.200})" for row in rows[:_LISTED])
    return named + (f"; and {len(rows) - _LISTED} more" if len(rows) > _LISTED else "")


def _left_out(row: Surveyed) -> LeftOut:
    return LeftOut(*_name(row), row.reason, row.fault)


def _name(row: Surveyed) -> tuple[str, str]:
    return unescape_surrogates(row.facts.key), row.facts.modality
