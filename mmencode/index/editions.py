"""The editions of an index: its rows in one space each, of which one is current and the others are kept.

The edition that an index was made with lies in the index's own folder, every later one in a folder of its own
below it. A record beside them says which one is current. It is replaced in one step, so that whoever opens
the index sees one edition whole, and one that was open before goes on with the edition that it has.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from .._atomic import file_aside, read_whole
from ..errors import BusyError, StoreError
from ..errors.causes import message_of
from .lance import DAMAGED, DENIED
from .locking import WriteLock

RECORD, FOLDER, LOCK = "editions.json", "editions", "lock"
_FORMAT, _MOST = 1, 2**20
_NAME = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Editions:
    """The names of an index's editions; "" is the one in its own folder.

    current   is the one that is opened
    earlier   those that were current before, which undoing goes back to, the latest last
    undone    those that undoing left, which redoing goes to, the latest last
    removed   those that are about to be removed, of which some files may be gone
    versions  of the table of rows, at which an edition became current
    """

    current: str = ""
    earlier: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    versions: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, index: Path) -> Editions:
        """Read the record of an index; one without has one edition. StoreError for a damaged one."""
        try:
            content = json.loads(read_whole(index / RECORD, _MOST))
            if content["format"] != _FORMAT:
                raise ValueError(
                    f"its format is {content['format']!r:.20}, and this mmencode reads {_FORMAT}"
                )
            found = cls(
                content["current"],
                tuple(content["earlier"]),
                tuple(content["undone"]),
                tuple(content["removed"]),
                {name: int(version) for name, version in content["versions"].items()},
            )
            named = (*found.names, *found.removed)
            if not all(isinstance(name, str) and (not name or _NAME.fullmatch(name)) for name in named):
                raise ValueError("it has a name that no edition has")
            return found
        except (FileNotFoundError, NotADirectoryError):
            return cls()
        except PermissionError as cause:
            raise StoreError(
                f"the index's record of editions can't be read: {message_of(cause)}",
                culprit=str(index / RECORD),
                remedy=DENIED,
            ) from cause
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
            raise StoreError(
                f"the index's record of editions is damaged: {message_of(cause)}",
                culprit=str(index / RECORD),
                remedy=DAMAGED,
            ) from cause

    def write(self, index: Path) -> None:
        """Make this the record of an index, in one step; StoreError where it can't be written."""
        content = {
            "format": _FORMAT,
            "current": self.current,
            "earlier": self.earlier,
            "undone": self.undone,
            "removed": self.removed,
            "versions": {name: version for name, version in self.versions.items() if name in self.names},
        }
        try:
            with file_aside(index / RECORD) as aside:
                aside.write_text(json.dumps(content, indent=2) + "\n", encoding="ascii")
        except OSError as cause:
            raise StoreError(
                f"the index's record of editions can't be written: {message_of(cause)}",
                culprit=str(index / RECORD),
                remedy="make room on the disk, or get the right to write there; the index is as it was",
            ) from cause

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all editions."""
        return (*self.earlier, self.current, *self.undone)

    def advance(self, name: str, version: int) -> Editions:
        """Make a new edition the current one."""
        earlier = (*self.earlier, self.current)
        return replace(self, current=name, earlier=earlier, versions={**self.versions, name: version})

    def undo(self) -> Editions:
        """Go back to the edition before the current one."""
        return replace(
            self, current=self.earlier[-1], earlier=self.earlier[:-1], undone=(*self.undone, self.current)
        )

    def redo(self) -> Editions:
        """Go to the edition that was undone last."""
        return replace(
            self, current=self.undone[-1], earlier=(*self.earlier, self.current), undone=self.undone[:-1]
        )


def folder_of(index: Path, name: str) -> Path:
    """The folder of an edition."""
    return index / FOLDER / name if name else index


def current_folder(index: Path) -> Path:
    """Find the folder of an index's current edition."""
    return folder_of(index, Editions.read(index).current)


def ledger_of(index: Path, name: str) -> Path:
    """The file in which the making of an edition is noted."""
    return index / FOLDER / f"{name}.sqlite"


def new_name() -> str:
    """Draw the name of a new edition."""
    return secrets.token_hex(8)


def find_unfinished(index: Path) -> list[str]:
    """Find the editions that are being made, or whose making was interrupted."""
    record = Editions.read(index)
    known = {*record.names, *record.removed}
    try:
        found = sorted(path.name for path in (index / FOLDER).iterdir() if path.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [name for name in found if _NAME.fullmatch(name) and name not in known]


def remove_edition(index: Path, name: str) -> int:
    """Remove the files of an edition that the record doesn't name; return how many bytes they took.

    Of the edition in the index's own folder these are all but the record and the folder of the others.
    """
    if not name:
        own = [path for path in index.iterdir() if path.name not in (RECORD, FOLDER)]
        size = sum(map(size_of_folder, own))
        for path in own:
            _remove(path)
        return size
    folder = folder_of(index, name)
    size = size_of_folder(folder) if folder.is_dir() else 0
    if size:
        aside = folder.with_name(f"{name}.part")
        folder.rename(aside)  # in one step, so that no half of it is taken for an edition
        _remove(aside)
    for path in (index / FOLDER).glob(f"{name}.sqlite*"):
        _remove(path)
    return size


def tidy(index: Path) -> int:
    """Remove what isn't needed any more, or was left by a process that ended; return the bytes of editions.

    That are editions that were forgotten, halves of folders, and ledgers of editions that are made.
    """
    record = Editions.read(index)
    freed = sum(remove_edition(index, name) for name in record.removed)
    if record.removed:
        replace(record, removed=()).write(index)
    unfinished = find_unfinished(index)
    for path in (index / FOLDER).iterdir():
        halves = path.name.endswith(".part")
        if halves or (".sqlite" in path.name and path.name.partition(".")[0] not in unfinished):
            _remove(path)
    return freed


@contextmanager
def right_to_swap(index: Path) -> Iterator[None]:
    """Hold the right to change which edition of an index is current; BusyError where another has it.

    What an interrupted process left is tidied up first.
    """
    lock = index / FOLDER / LOCK
    try:
        lock.parent.mkdir(exist_ok=True)
    except OSError as cause:
        raise StoreError(
            f"the index's folder can't be written to: {message_of(cause)}",
            culprit=str(index),
            remedy="get the right to write there, or make room on the disk; the index is as it was",
        ) from cause
    with ExitStack() as stack:
        try:
            stack.enter_context(WriteLock(lock, wait=0.0).hold())
        except BusyError as cause:
            raise BusyError(
                "another process or thread is migrating the index",
                culprit=str(index),
                remedy="wait until it ends, or end it: what it did so far stays",
            ) from cause
        tidy(index)
        yield


def size_of_folder(path: Path) -> int:
    """Count the bytes of a file, or of all files in a folder."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    return sum(each.lstat().st_size for each in path.rglob("*") if not each.is_dir())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
