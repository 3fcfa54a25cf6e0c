"""Folders that an index follows: their files as entries, and the rows whose files are gone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from ..card import SpaceCard
from ..embeddings.surrogates import escape_surrogates, unescape_surrogates
from ..errors import InputError
from ..inputs import Limits, split_part
from ..inputs.walking import Walk, endings_of
from ..plugins.modalities import find_modality, walked_modalities
from .entries import Entry
from .expanding import Expansion
from .looking import LookedAt
from .results import Added, Failure
from .store import Store
from .tables import Tables
from .writer import Writer

Missing = Literal["few", "keep", "remove"]
_FEW, _SHARE = 3, 0.25  # files that may be gone at once: so many, or this share of those that have rows


class FollowedFiles:
    """The files of one modality in a folder, and the rows of an index that have lost theirs."""

    def __init__(self, walk: Walk, modality: str) -> None:
        self.modality = modality
        self._walk = walk
        self._seen: set[str] = set()
        self._expansion: Expansion | None = None

    def entries(self, tables: Tables, limits: Limits, *, retry: bool = False) -> Iterator[Entry]:
        """Iterate over the files, each once, in the order of their paths, or over the items in them."""
        spec = find_modality(self.modality)
        if spec is not None and spec.part:
            self._expansion = Expansion(spec, tables, limits, retry=retry)
            found = self._expansion.entries(self._walk)
        else:
            found = (Entry(path, self.modality, path, n, LookedAt(path)) for n, path in enumerate(self._walk))
        for entry in found:
            self._seen.add(escape_surrogates(entry.key))
            yield entry

    def unread(self) -> Added:
        """Report the files that were left out, and the folders that couldn't be listed, after `entries`."""
        failed = [Failure(path, self.modality, reason, "access") for path, reason in self._walk.unlisted]
        return Added(0, 0, tuple(failed), left_out=dict(self._walk.left_out))

    def select_below(self, keys: Iterable[str]) -> list[str]:
        """Select the escaped keys of files below the folder."""
        start = _start_of_keys(self._walk.folder)
        return [key for key in keys if key.startswith(start)]

    def select_gone(self, keys: Iterable[str]) -> list[str]:
        """Select, of escaped keys below the folder, those whose files aren't there.

        A file below a folder that couldn't be listed may be there, so it isn't gone; nor is one that is there
        and was left out, such as a link.
        """
        unknown = tuple(_start_of_keys(path) for path, _ in self._walk.unlisted)
        return [
            key
            for key in keys
            if key not in self._seen
            and not key.startswith(unknown)
            and not os.path.lexists(self.path_of(key))
        ]

    def select_outdated(self, keys: Iterable[str]) -> list[str]:
        """Select, of escaped keys, those of items that their file, which was expanded, has no longer.

        A file whose items can't be counted now may have them.
        """
        whole = set() if self._expansion is None else self._expansion.whole
        paths = ((key, escape_surrogates(self.path_of(key))) for key in keys if key not in self._seen)
        return [key for key, path in paths if path in whole]

    @property
    def expands(self) -> bool:
        """Whether files of the modality may hold several items."""
        return self._expansion is not None

    def path_of(self, key: str) -> str:
        """The path of the file that an escaped key is of, or of an item in."""
        return os.fsdecode(split_part(self.modality, unescape_surrogates(key))[0])


class FollowedFolder:
    """A folder whose files an index follows, by default of each modality that the index's space has.

    `missing` says what happens to the rows of files that are gone: they are removed if they are "few", or in
    any case ("remove"), or never ("keep"). Raises NotADirectoryError, and ValueError for another `missing`
    and for a modality that no file has.
    """

    files: list[FollowedFiles]

    def __init__(
        self,
        card: SpaceCard,
        folder: str | os.PathLike[str],
        modalities: Sequence[str] | None,
        *,
        missing: Missing,
        follow_links: bool,
    ) -> None:
        if missing not in ("few", "keep", "remove"):
            raise ValueError(f'missing is {missing!r}: make it "few", "keep" or "remove"')
        self._top = os.path.realpath(os.fsdecode(folder))
        self._missing = missing
        if not os.path.isdir(self._top):
            raise NotADirectoryError(
                f"{self._top} is no folder: give one that is there, whose files are to be indexed"
            )
        chosen = _choose_modalities(card, modalities)
        self.files = [
            FollowedFiles(
                Walk(self._top, modality, others=set(chosen) - {modality}, follow_links=follow_links),
                modality,
            )
            for modality in chosen
        ]

    def remove_gone(self, store: Store) -> int:
        """Remove the rows and failures of files that are gone, once all were walked; return how many rows.

        Those of items that a changed file has no longer go in any case. Raises InputError where only "few"
        may go and there are so many files that more likely a disk isn't mounted.
        """
        expanding = [files for files in self.files if files.expands]
        if self._missing == "keep" and not expanding:
            return 0
        # The right to write is held from the look at the keys on: a row that another writer adds in between,
        # for a file that has come back say, would be removed.
        with store.writing() as writer:
            removed = sum(_remove_outdated(store, writer, files) for files in expanding)
            return removed if self._missing == "keep" else removed + self._remove_gone(store, writer)

    def _remove_gone(self, store: Store, writer: Writer) -> int:
        held = [(files, files.select_below(store.row_keys(files.modality))) for files in self.files]
        gone = [(files, files.select_gone(keys)) for files, keys in held]
        if self._missing == "few":
            _require_few(_list_paths(gone), len(_list_paths(held)), self._top)
        for files in self.files:
            failures = files.select_below(store.failure_keys(files.modality))
            writer.delete_failures(files.select_gone(failures))
        return writer.delete_rows([key for _, keys in gone for key in keys])


def _remove_outdated(store: Store, writer: Writer, files: FollowedFiles) -> int:
    """Remove the rows and failures of items that their files have no longer; return how many rows."""
    failures = files.select_below(store.failure_keys(files.modality))
    writer.delete_failures(files.select_outdated(failures))
    rows = files.select_below(store.row_keys(files.modality))
    return writer.delete_rows(files.select_outdated(rows))


def _list_paths(keys: Iterable[tuple[FollowedFiles, Iterable[str]]]) -> list[str]:
    """List the paths of files that escaped keys are of, or of items in, each once."""
    return list(dict.fromkeys(files.path_of(key) for files, each in keys for key in each))


def _start_of_keys(folder: str) -> str:
    """The start that the escaped keys of all files in a folder share."""
    return escape_surrogates(os.path.join(folder, ""))


def _choose_modalities(card: SpaceCard, modalities: Sequence[str] | None) -> list[str]:
    walked = walked_modalities()
    chosen = (
        [tower.modality for tower in card.towers if not tower.role]
        if modalities is None
        else list(modalities)
    )
    unknown = [modality for modality in chosen if modality not in walked]
    if unknown and modalities is not None:
        raise ValueError(
            f"folders are searched for files of {' and '.join(walked)}, not {unknown[0]!r}: "
            "add such items with Index.add, with keys"
        )
    chosen = [modality for modality in dict.fromkeys(chosen) if modality in walked]
    _require_own_endings(chosen)
    return chosen


def _require_own_endings(modalities: Sequence[str]) -> None:
    """Raise ValueError where files of one ending would be of two modalities, since each has one row."""
    seen: dict[str, str] = {}
    for modality in modalities:
        for ending in endings_of(modality):
            other = seen.setdefault(ending, modality)
            if other != modality:
                raise ValueError(
                    f"files that end in {ending} may be of the modality {other!r} or {modality!r}: say "
                    f"which, modalities=[{other!r}], or --modality {other} on the command line"
                )


def _require_few(gone: Sequence[str], count: int, folder: str) -> None:
    """Raise InputError where so many of `count` files are gone that more likely a disk isn't mounted."""
    empty = sorted({parent for path in gone if (parent := _empty_parent(path))})
    if not gone or (len(gone) < count and len(gone) <= max(_FEW, _SHARE * count) and not empty):
        return
    where = f", and {', '.join(empty[:3])} is empty" if empty else ""
    raise InputError(
        f"{len(gone)} of {count} files that the index has rows of aren't there{where}; their rows stay",
        source=folder,
        remedy="mount the disk that has them; where they are gone for good: "
        'index.sync(folder, missing="remove"), or `mmencode index sync --yes`',
        fault="access",
    )


def _empty_parent(path: str) -> str:
    """The nearest folder above a file that is still there, if it is empty, as a mount point is; else ""."""
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    with os.scandir(folder) as content:
        return folder if next(content, None) is None else ""
