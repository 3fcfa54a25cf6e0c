"""The history of an index's editions: which are kept, and how migrations are undone, redone and forgotten."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Literal

from ..arguments.brief import Brief
from ..errors import StoreError
from ..spaces.folder import CARD, read_card
from .draft import read_record
from .editions import (
    FOLDER,
    Editions,
    current_folder,
    find_unfinished,
    folder_of,
    remove_edition,
    right_to_swap,
    size_of_folder,
    tidy,
)
from .identity import require_folder
from .lance import package
from .latest import LatestTable
from .locking import WriteLock
from .store import LOCK
from .tables import ROWS

Standing = Literal["current", "earlier", "undone", "unfinished"]


@dataclass(frozen=True, slots=True, repr=False)
class Edition(Brief):
    """The rows of an index in one space.

    space     the id of the space
    standing  "current", "earlier", which undoing goes back to, "undone", or "unfinished"
    rows      number of rows
    bytes     size on the disk
    mapped    number of rows that a bridge's map took across from the edition before, when it was made
    left_out  number of rows that weren't brought across from it
    """

    space: str
    standing: Standing
    rows: int
    bytes: int
    mapped: int = 0
    left_out: int = 0


class History:
    """The editions of the index in a folder: one in each space that it was migrated to and out of.

    Raises StoreError for a folder that is no index; the methods that change it BusyError, while another
    process migrates it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        package("lancedb")
        self._index = require_folder(path)

    def editions(self) -> tuple[Edition, ...]:
        """List the editions: the earlier ones, the current one, those undone, and an unfinished one."""
        known = Editions.read(self._index)
        names: list[tuple[str, Standing]] = [(name, "earlier") for name in known.earlier]
        names.append((known.current, "current"))
        names += [(name, "undone") for name in known.undone]
        names += [(name, "unfinished") for name in find_unfinished(self._index)]
        return tuple(self._describe(name, standing) for name, standing in names)

    def undo(self) -> Edition:
        """Go back to the edition before the last migration, with all rows that it left out, in one step.

        The edition that is left is kept, with whatever was written to it since: `redo` goes to it again.
        """
        with right_to_swap(self._index):
            known = Editions.read(self._index)
            if not known.earlier:
                raise StoreError(
                    "there is no migration to undo",
                    culprit=str(self._index),
                    remedy="a migration whose old rows were forgotten can't be undone: migrate back instead",
                )
            return self._change(known, known.undo())

    def redo(self) -> Edition:
        """Go to the edition that was undone last, in one step."""
        with right_to_swap(self._index):
            known = Editions.read(self._index)
            if not known.undone:
                raise StoreError(
                    "there is no migration to redo",
                    culprit=str(self._index),
                    remedy="redoing is for a migration that was undone",
                )
            return self._change(known, known.redo())

    def forget(self) -> int:
        """Remove all editions but the current one, which can't be brought back then; return their bytes."""
        with right_to_swap(self._index):
            known = Editions.read(self._index)
            gone = (*known.earlier, *known.undone)
            if gone:
                replace(known, earlier=(), undone=(), removed=gone).write(self._index)
            return tidy(self._index) + self._remove_unfinished()

    def cancel(self) -> int:
        """Remove an unfinished migration; return the bytes that it took. The index stays as it is."""
        with right_to_swap(self._index):
            return self._remove_unfinished()

    def changed_since(self) -> bool:
        """Whether the current edition was written to since it became current."""
        known = Editions.read(self._index)
        version = known.versions.get(known.current)
        table = LatestTable(current_folder(self._index), ROWS)
        table.refresh()
        return version is not None and table.version != version

    def _remove_unfinished(self) -> int:
        return sum(remove_edition(self._index, name) for name in find_unfinished(self._index))

    def _change(self, known: Editions, then: Editions) -> Edition:
        """Change the current edition, while nobody writes to it."""
        target = folder_of(self._index, then.current)
        read_card(target / CARD)  # or the error, before anything changes
        table = LatestTable(target, ROWS)
        table.refresh()
        with WriteLock(folder_of(self._index, known.current) / LOCK).hold():
            then.write(self._index)
        return self._describe(then.current, "current")

    def _describe(self, name: str, standing: Standing) -> Edition:
        folder = folder_of(self._index, name)
        record = read_record(folder)
        if name:
            size = size_of_folder(folder)
        else:
            own = [path for path in folder.iterdir() if path.name != FOLDER]
            size = sum(map(size_of_folder, own))
        table = LatestTable(folder, ROWS)
        table.refresh()
        return Edition(
            space=read_card(folder / CARD).id,
            standing=standing,
            rows=table.count,
            bytes=size,
            mapped=sum(record.get("mapped", {}).values()),
            left_out=record.get("left_out", 0),
        )
