"""An index that follows a folder: new and changed files are encoded, rows of files that are gone removed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from ..embeddings.surrogates import escape_surrogates, unescape_surrogates
from ..errors import InputError
from ..inputs.walking import ENDINGS, Walk
from .entries import Entry
from .results import Added, Failure

if TYPE_CHECKING:
    from .index import Index
    from .store import Store

Missing = Literal["few", "keep", "remove"]
_FEW, _SHARE = 3, 0.25  # files, and of those that have rows


def sync(
    index: Index,
    folder: str | os.PathLike[str],
    modalities: Sequence[str] | None = None,
    *,
    missing: Missing = "few",
    follow_links: bool = False,
    retry: bool = False,
    progress: bool = False,
) -> Added:
    """Make the index's rows those of the files of a folder: their keys are absolute paths, links resolved.

    Files that are unchanged, by size and time or else by the hash of their content, aren't encoded again.
    Those that can't be encoded are listed as failures; those at fault by their own content are tried again
    once they change, or with `retry`, the others each time. Whatever ends it, what is done is kept, and the
    next call goes on from there.

    Rows and failures of files that are gone are removed, once all else is done. With missing="few" that is
    refused, by an InputError, where it looks as if a disk were not mounted: when more than a quarter (and
    three) of the folder's rows would go, all of them, or those of a folder that is there and empty. "remove"
    removes them nevertheless, "keep" keeps all.

    Links that lead out of the folder aren't followed unless `follow_links`. `modalities` are by default those
    of the space that files have: image and audio, by their endings. Raises NotADirectoryError, ValueError for
    modalities without endings, and as `Index.add`.
    """
    if missing not in ("few", "keep", "remove"):
        raise ValueError(f'missing is {missing!r}: make it "few", "keep" or "remove"')
    top = os.path.realpath(os.fsdecode(folder))
    if not os.path.isdir(top):
        raise NotADirectoryError(f"{top} is no folder: give one that is there, whose files are to be indexed")
    chosen = _chosen(index, modalities)
    walks = [
        _Followed(Walk(top, modality, others=set(chosen) - {modality}, follow_links=follow_links), modality)
        for modality in chosen
    ]
    done = Added(0, 0)
    for walk in walks:
        done += index._fill(walk.modality, walk.entries(), retry=retry, progress=progress)
        done += walk.passed_over()
    if missing == "keep":
        return done
    return done + Added(0, 0, removed=_remove(index._store, top, walks, only_few=missing == "few"))


class _Followed:
    """The files of a folder that are of a modality, and which of an index's rows have lost theirs."""

    def __init__(self, walk: Walk, modality: str) -> None:
        self.walk = walk
        self.modality = modality
        self._seen: set[str] = set()

    def entries(self) -> Iterator[Entry]:
        """Each file once, in the order of paths."""
        for place, path in enumerate(self.walk):
            self._seen.add(escape_surrogates(path))
            yield Entry(path, self.modality, path, place, path)

    def passed_over(self) -> Added:
        """What was left out, and the folders that couldn't be listed, once all entries were drawn."""
        failed = [Failure(path, self.modality, reason, "access") for path, reason in self.walk.unlisted]
        return Added(0, 0, tuple(failed), left_out=dict(self.walk.left_out))

    def below(self, keys: Iterable[str]) -> list[str]:
        """Those of the escaped keys that are below the folder."""
        inside = _below(self.walk.folder)
        return [key for key in keys if key.startswith(inside)]

    def gone(self, keys: Iterable[str]) -> list[str]:
        """Those of the escaped keys below the folder whose files aren't there.

        What is below a folder that couldn't be listed may still be there, and isn't gone; nor is a file that
        is there and was left out, a link say.
        """
        unknown = tuple(_below(path) for path, _ in self.walk.unlisted)
        return [
            key
            for key in keys
            if key not in self._seen
            and not key.startswith(unknown)
            and not os.path.lexists(unescape_surrogates(key))
        ]


def _below(folder: str) -> str:
    """How the escaped keys of what is in a folder begin."""
    return escape_surrogates(os.path.join(folder, ""))


def _chosen(index: Index, modalities: Sequence[str] | None) -> list[str]:
    if modalities is None:
        return [tower.modality for tower in index.card.towers if tower.modality in ENDINGS]
    if unknown := [modality for modality in modalities if modality not in ENDINGS]:
        raise ValueError(
            f"folders are searched for {' and '.join(ENDINGS)}, not {unknown[0]!r}: "
            "add such items with Index.add, with keys"
        )
    return list(dict.fromkeys(modalities))


def _remove(store: Store, top: str, walks: Sequence[_Followed], *, only_few: bool) -> int:
    """Remove the rows and failures of files that are gone; how many rows."""
    with store.writing():
        held = [walk.below(store.keys(store.rows, walk.modality)) for walk in walks]
        gone = [key for walk, keys in zip(walks, held, strict=True) for key in walk.gone(keys)]
        if only_few:
            _require_few(gone, sum(map(len, held)), top)
        for walk in walks:
            failures = walk.below(store.keys(store.failures, walk.modality))
            store.delete(store.failures, walk.gone(failures))
        return store.delete(store.rows, gone)


def _require_few(gone: Sequence[str], held: int, top: str) -> None:
    """Raise InputError where so much is gone that a disk which isn't mounted is likelier."""
    empty = sorted({folder for key in gone if (folder := _emptied(unescape_surrogates(key)))})
    if not gone or (len(gone) < held and len(gone) <= max(_FEW, _SHARE * held) and not empty):
        return
    where = f", and {', '.join(empty[:3])} is empty" if empty else ""
    raise InputError(
        f"{len(gone)} of {held} files that the index has rows of aren't there{where}; their rows stay",
        source=top,
        remedy="mount the disk that has them; where they are gone for good: "
        'sync(index, folder, missing="remove"), or `mmencode index sync --yes`',
        fault="access",
    )


def _emptied(path: str) -> str:
    """The nearest folder of a file that is still there, where that is empty; else ""."""
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    with os.scandir(folder) as content:
        return folder if next(content, None) is None else ""
