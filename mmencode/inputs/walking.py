"""Folders are walked for the files of a modality, chosen by their endings, with a count of those left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec

from ..plugins.modalities import find_modality


def endings_of(modality: str) -> tuple[str, ...]:
    """The file endings of a modality that can be read with the installed packages; none for text.

    Endings choose among a folder's files only; a file that is named itself is read whatever its ending.
    """
    spec = find_modality(modality)
    if spec is None:
        return ()
    return (*spec.endings, *(ending for ending, module, _ in spec.optional if find_spec(module)))


def _all_endings(modality: str) -> set[str]:
    """The endings of a modality, with those that another package would read."""
    spec = find_modality(modality)
    return set() if spec is None else {*spec.endings, *(ending for ending, _, _ in spec.optional)}


class Walk:
    """An iterable over the paths of a folder's files of one modality, in sorted order; usable once.

    Hidden files and folders are left out, and so are links that lead out of the folder or to a file that is
    found by its own name; with `follow_links` all links are followed, and each folder is visited once.

    `left_out` counts the files that were left out, by reason; files of the modalities in `others`, which are
    walked separately, aren't counted. `unlisted` holds the path of each folder that can't be listed, and why.
    """

    def __init__(
        self, folder: str, modality: str, *, others: Iterable[str] = (), follow_links: bool = False
    ) -> None:
        self.folder = folder
        self.left_out: Counter[str] = Counter()
        self.unlisted: list[tuple[str, str]] = []
        self._real = os.path.realpath(folder)
        self._follow = follow_links
        self._endings = endings_of(modality)
        spec = find_modality(modality)
        self._missing = {
            ending: f"with the ending {ending}, which can be read after pip install {package}"
            for ending, _, package in (() if spec is None else spec.optional)
            if ending not in self._endings
        }
        self._others = set().union(*map(_all_endings, others)) - {*self._endings, *self._missing}

    def __iter__(self) -> Iterator[str]:
        for root, names in self._folders():
            yield from (os.path.join(root, name) for name in sorted(names) if self._accepts(root, name))

    def _accepts(self, root: str, name: str) -> bool:
        """Decide whether a file is of the modality and allowed; count it by its reason if it isn't."""
        ending = os.path.splitext(name)[1].lower()
        if name.startswith("."):
            reason = "hidden"
        elif ending in self._others:
            return False
        elif ending in self._missing:
            reason = self._missing[ending]
        elif ending not in self._endings:
            reason = f"with the ending {ending}" if ending else "without an ending"
        else:
            reason = "" if self._follow else self._reason_for_link(os.path.join(root, name))
        self.left_out.update([reason] * bool(reason))
        return not reason

    def _reason_for_link(self, path: str) -> str:
        """The reason to leave a link out; "" for other files, and for links to hidden files of the folder."""
        if not os.path.islink(path):
            return ""
        inside = os.path.relpath(os.path.realpath(path), self._real).split(os.sep)
        if inside[0] == os.pardir or not os.path.exists(path):
            return "links out of the folder"
        hidden = any(part.startswith(".") and part != os.curdir for part in inside)
        return "" if hidden else "links within the folder"

    def _folders(self) -> Iterator[tuple[str, list[str]]]:
        """Yield each folder once, with the names of its files."""
        seen: set[tuple[int, int]] = set()
        for root, folders, names in os.walk(
            self.folder, followlinks=self._follow, onerror=self._note_failure
        ):
            try:
                state = os.stat(root)
            except OSError as error:  # it was removed since it was listed
                self._note_failure(error)
                continue
            if (state.st_dev, state.st_ino) in seen:
                folders.clear()
                continue
            seen.add((state.st_dev, state.st_ino))
            links = [] if self._follow else [name for name in folders if self._is_link(root, name)]
            hidden = [name for name in folders if name.startswith(".")]
            self.left_out.update(
                [self._reason_for_link(os.path.join(root, name)) or "hidden" for name in links]
            )
            self.left_out.update(["hidden folders"] * len(hidden))
            folders[:] = sorted(set(folders) - {*links, *hidden})
            yield root, names

    def _is_link(self, root: str, name: str) -> bool:
        return not name.startswith(".") and os.path.islink(os.path.join(root, name))

    def _note_failure(self, error: OSError) -> None:
        self.unlisted.append((str(error.filename), f"it can't be listed: {error.strerror}"))


def summary(left_out: Mapping[str, int], most: int = 8) -> str:
    """A line that counts the files left out by reason, largest counts first, at most `most` reasons."""
    ranked = sorted(left_out.items(), key=lambda entry: (-entry[1], entry[0]))
    said = [f"{count} {reason}" for reason, count in ranked[:most]]
    rest = sum(count for _, count in ranked[most:])
    return ", ".join([*said, *([f"{rest} for other reasons"] if rest else [])])
