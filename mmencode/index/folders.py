"""Folders that an index follows: their files as entries, and the rows whose files are gone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from ..card import SpaceCard
from ..embeddings.surrogates import escape_surrogates, unescape_surrogates
from ..errors import InputError
from ..inputs.walking import Walk, endings_of
from ..plugins.modalities import walked_modalities
from .entries import Entry
from .results import Added, Failure
from .store import Store

Missing = Literal["few", "keep", "remove"]
_FEW, _SHARE = 3, 0.25  # files that may be gone at once: so many, or this share of those that have rows


class FollowedFiles:
    """The files of one modality in a folder, and the rows of an index that have lost theirs."""

    def __init__(self, walk: Walk, modality: str) -> None:
        self.modality = modality
        self._walk = walk
        self._seen: set[str] = set()

    def entries(self) -> Iterator[Entry]:
        """Iterate over the files, each once, in the order of their paths."""
        for place, path in enumerate(self._walk):
            self._seen.add(escape_surrogates(path))
            yield Entry(path, self.modality, path, place, path)

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
            and not os.path.lexists(unescape_surrogates(key))
        ]


class FollowedFolder:
    """A folder whose files an index follows, by default of each modality that the index's space has.

    `missing` says what happens to the rows of files that are gone: they are removed if they are "few", or in
    any case ("remove"), or never ("keep"). Raises NotADirectoryError, and ValueError for another `missing`
    and for a modality that no file has.
    """

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

        Raises InputError where only "few" may go and there are so many that more likely a disk isn't mounted.
        """
        if self._missing == "keep":
            return 0
        # The right to write is held from the look at the keys on: a row that another writer adds in between,
        # for a file that has come back say, would be removed.
        with store.writing() as writer:
            held = [files.select_below(store.row_keys(files.modality)) for files in self.files]
            pairs = zip(self.files, held, strict=True)
            gone = [key for files, keys in pairs for key in files.select_gone(keys)]
            if self._missing == "few":
                _require_few(gone, sum(map(len, held)), self._top)
            for files in self.files:
                failures = files.select_below(store.failure_keys(files.modality))
                writer.delete_failures(files.select_gone(failures))
            return writer.delete_rows(gone)


def _start_of_keys(folder: str) -> str:
    """The start that the escaped keys of all files in a folder share."""
    return escape_surrogates(os.path.join(folder, ""))


def _choose_modalities(card: SpaceCard, modalities: Sequence[str] | None) -> list[str]:
    walked = walked_modalities()
    chosen = [tower.modality for tower in card.towers] if modalities is None else list(modalities)
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
    empty = sorted({parent for key in gone if (parent := _empty_parent(unescape_surrogates(key)))})
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
