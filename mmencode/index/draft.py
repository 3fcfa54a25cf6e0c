"""The draft of a new edition of an index, which a migration fills, and the record of how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._atomic import file_aside, folder_aside, read_whole, sync_all
from ..card import SpaceCard
from ..errors import MmencodeError, StoreError
from ..errors.causes import message_of
from ..spaces.space import Space
from .columns import Owner
from .editions import FOLDER, Editions, find_unfinished, folder_of, ledger_of, new_name, remove_edition
from .lance import DAMAGED
from .layout import Layout
from .lazy_space import write_space
from .ledger import Ledger
from .store import Store
from .tables import make_tables

RECORD = "migration.json"
_MOST = 2**20


class Draft:
    """An edition that is being made: its folder, its store, and the ledger of what is done."""

    index: Path
    name: str
    folder: Path
    store: Store
    ledger: Ledger

    def __init__(self, index: Path, name: str, space: Space) -> None:
        self.index, self.name = index, name
        self.folder = folder_of(index, name)
        self.store = Store(self.folder, space.card.fingerprint)
        self.ledger = Ledger(ledger_of(index, name))

    @classmethod
    def find(
        cls, index: Path, source: SpaceCard, space: Space, layout: Layout, towers: Mapping[str, str]
    ) -> Draft | None:
        """Find the draft that an interrupted migration left; None without one.

        One of another edition than the current is removed, for its rows are other ones. StoreError for one of
        another space, of other encoders or of another layout, which is somebody's unfinished work.
        """
        wanted = _facts(index, source, space, layout, towers)
        for name in find_unfinished(index):
            found = read_record(folder_of(index, name))
            if found.get("edition") != wanted["edition"] or not ledger_of(index, name).is_file():
                remove_edition(index, name)
                continue
            if any(found.get(each) != value for each, value in wanted.items()):
                raise StoreError(
                    f"a migration into {found.get('target')} isn't finished, and differs from this one into "
                    f"{space.id} in its space, encoders or layout",
                    culprit=str(index),
                    remedy="finish it, by the same call again, or remove it: History(path).cancel() of "
                    "mmencode.index, or `mmencode index migrate --cancel`",
                )
            return cls(index, name, space)
        return None

    @classmethod
    def make(
        cls, index: Path, source: SpaceCard, space: Space, layout: Layout, towers: Mapping[str, str]
    ) -> Draft:
        """Make an empty draft, whole or not at all; StoreError where it can't be written."""
        name = new_name()
        try:
            with folder_aside(index / FOLDER / name) as aside:
                write_space(space, aside)
                make_tables(aside, space.dim, Owner.new(space.card.fingerprint, layout))
                facts = _facts(index, source, space, layout, towers)
                (aside / RECORD).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        except OSError as cause:
            raise _unwritten(index, cause) from cause
        return cls(index, name, space)

    def publish(self, facts: Mapping[str, Any]) -> None:
        """Make the draft the index's current edition, in one step, with the facts on how it was made.

        The caller holds the right to write to the edition that was current.
        """
        try:
            with file_aside(self.folder / RECORD) as aside:
                content = {**read_record(self.folder), **facts}
                aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            sync_all(self.folder)
        except OSError as cause:
            raise _unwritten(self.index, cause) from cause
        with self.store.reading():
            version = self.store.tables.rows.version
        Editions.read(self.index).advance(self.name, version).write(self.index)

    def close(self) -> None:
        """Close the ledger, whose file stays for the next run."""
        self.ledger.close()


def read_record(folder: Path) -> dict[str, Any]:
    """Read how an edition was made; empty for the one that the index was made with."""
    try:
        found = json.loads(read_whole(folder / RECORD, _MOST))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as cause:
        raise StoreError(
            f"the record of a migration can't be read: {message_of(cause)}",
            culprit=str(folder / RECORD),
            remedy=DAMAGED,
        ) from cause
    return found if isinstance(found, dict) else {}


def towers_of(space: Space, modalities: tuple[str, ...]) -> dict[str, str]:
    """Find the digests of a space's encoders of these modalities, those aside that it hasn't."""
    found = {}
    for modality in modalities:
        if modality in space.specs:
            found[modality] = space.tower_card(modality).digest
    return found


def _facts(
    index: Path, source: SpaceCard, space: Space, layout: Layout, towers: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "format": 1,
        "edition": Editions.read(index).current,
        "source": source.id,
        "target": space.id,
        "layout": layout.text,
        "towers": dict(sorted(towers.items())),
    }


def _unwritten(index: Path, cause: OSError) -> MmencodeError:
    return StoreError(
        f"the new edition of the index can't be written: {message_of(cause)}",
        culprit=str(index),
        remedy="make room on the disk, or get the right to write there; the index is as it was",
    )
