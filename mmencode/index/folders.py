"""An index that follows a folder: new and changed files are encoded, rows of files that are gone removed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..inputs.walking import ENDINGS, files
from .entries import Entry
from .escaping import escape
from .results import Added, Failure

if TYPE_CHECKING:
    from .index import Index
    from .store import Store


def sync(
    index: Index,
    folder: str | os.PathLike[str],
    modalities: Sequence[str] | None = None,
    *,
    remove: bool = True,
    retry: bool = False,
    progress: bool = False,
) -> Added:
    """Make the index's rows those of the files of a folder: their keys are absolute paths.

    Files that are unchanged, by size and time or else by the hash of their content, aren't encoded again.
    Those that can't be encoded are listed as failures, and tried again once they change, or with `retry`.
    Rows and failures of files that are gone are removed unless `remove` is false. Whatever ends it, what is
    done is kept, and the next call goes on from there.

    `modalities` are by default those of the space that files have: image and audio, by their endings. Raises
    NotADirectoryError, ValueError for modalities without endings, and as `Index.add`.
    """
    top = os.path.abspath(os.fsdecode(folder))
    if not os.path.isdir(top):
        raise NotADirectoryError(f"{top} is no folder: give one that is there, whose files are to be indexed")
    walks = [_Walk(top, modality) for modality in _chosen(index, modalities)]
    parts = []
    for walk in walks:
        done = index._fill(walk.modality, walk.entries(), retry=retry, progress=progress)
        parts.append(done)
        parts.append(Added(0, 0, tuple(walk.unlisted)))
        if remove:
            parts.append(Added(0, 0, (), _removed(index._store, walk)))
    return Added(
        sum(part.added for part in parts),
        sum(part.unchanged for part in parts),
        tuple(failure for part in parts for failure in part.failed),
        sum(part.removed for part in parts),
    )


@dataclass(slots=True)
class _Walk:
    """The files of a folder that are of a modality, and the folders that couldn't be listed."""

    folder: str
    modality: str
    seen: set[str] = field(default_factory=set)
    unlisted: list[Failure] = field(default_factory=list)

    def entries(self) -> Iterator[Entry]:
        """Each file once, in the order of paths."""
        for place, path in enumerate(files(self.folder, ENDINGS[self.modality], self._note)):
            self.seen.add(escape(path))
            yield Entry(path, self.modality, path, place, path)

    def _note(self, path: str, reason: str) -> None:
        self.unlisted.append(Failure(path, self.modality, reason))

    def gone(self, keys: Iterable[str]) -> list[str]:
        """Those of the escaped keys that are below the folder, and whose files weren't found.

        What is below a folder that couldn't be listed may still be there, and isn't gone.
        """
        inside = _below(self.folder)
        unknown = tuple(_below(failure.key) for failure in self.unlisted)
        return [
            key
            for key in keys
            if key.startswith(inside) and key not in self.seen and not key.startswith(unknown)
        ]


def _below(folder: str) -> str:
    """How the escaped keys of what is in a folder begin."""
    return escape(os.path.join(folder, ""))


def _chosen(index: Index, modalities: Sequence[str] | None) -> list[str]:
    if modalities is None:
        return [tower.modality for tower in index.card.towers if tower.modality in ENDINGS]
    if unknown := [modality for modality in modalities if modality not in ENDINGS]:
        raise ValueError(
            f"folders are searched for {' and '.join(ENDINGS)}, not {unknown[0]!r}: "
            "add such items with Index.add, with keys"
        )
    return list(dict.fromkeys(modalities))


def _removed(store: Store, walk: _Walk) -> int:
    """Remove the rows and failures of files that are gone; how many rows."""
    with store.writing():
        rows = walk.gone(store.keys(store.rows, walk.modality))
        failures = walk.gone(store.keys(store.failures, walk.modality))
        store.delete(store.failures, failures)
        return store.delete(store.rows, rows)
