"""Files that may hold several items are expanded to them, and opened for that only where they changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..embeddings.surrogates import escape_surrogates
from ..errors import InputError
from ..inputs import Limits
from ..inputs.parts import count_parts, name_part
from ..plugins.modality import ModalitySpec
from .entries import Entry
from .looking import LookedAt
from .tables import Stored, Tables

GROUP = 64  # files that are looked up at once


class Expansion:
    """The files of one modality that may hold several items, such as documents of pages.

    `whole` has the escaped keys of the files whose items are known as they are now, and `broken` those of
    files whose items can't be counted: what an index has of these stays.
    """

    def __init__(self, spec: ModalitySpec, tables: Tables, limits: Limits, *, retry: bool) -> None:
        self._spec, self._tables, self._limits, self._retry = spec, tables, limits, retry
        self.whole: set[str] = set()
        self.broken: set[str] = set()

    def entries(self, paths: Iterable[str]) -> Iterator[Entry]:
        """Iterate over the items of files, each with the file that it lies in."""
        place = 0
        for group in _group(paths):
            firsts = [self._name(path, 1) for path in group]
            rows, failures = self._tables.look_up(list(map(escape_surrogates, [*firsts, *group])))
            stored = failures | rows
            for path, first in zip(group, firsts, strict=True):
                key = escape_surrogates(path)
                for entry in self._expand(path, stored.get(escape_surrogates(first)), stored.get(key), place):
                    yield entry
                    place += 1

    def _expand(self, path: str, first: Stored | None, single: Stored | None, place: int) -> Iterator[Entry]:
        """Iterate over the items of one file, of which the first, or the file itself, may be stored."""
        file, key = LookedAt(path), escape_surrogates(path)
        try:
            count = self._find_count(file, first, single)
        except InputError as error:
            self.broken.add(key)
            yield Entry(path, self._spec.name, path, place, file, error=error)
            return
        if not count:
            known_bad = single is not None and single.reason is not None
            (self.broken if known_bad else self.whole).add(key)
            yield Entry(path, self._spec.name, path, place, file)
            return
        self.whole.add(key)
        file.parts = count
        for number in range(1, count + 1):
            name = self._name(path, number)
            yield Entry(name, self._spec.name, name, place + number - 1, file)

    def _find_count(self, file: LookedAt, first: Stored | None, single: Stored | None) -> int:
        """Count the items of a file, by what is stored of it where that still holds; 0 for a single one."""
        if first is not None and first.stamp.parts and self._is_same(file, first):
            return first.stamp.parts
        if single is not None and not self._is_tried_again(single) and self._is_same(file, single):
            return 0
        return count_parts(self._spec, file.path, self._limits)

    def _is_same(self, file: LookedAt, stored: Stored) -> bool:
        if stored.stamp.is_as_old_as(file.look()):
            return True
        return file.look().size == stored.stamp.size and stored.stamp.has_content_of(
            file.read(self._limits.bytes)
        )

    def _is_tried_again(self, single: Stored) -> bool:
        """Whether a file that failed as a whole is opened again, as one whose content isn't at fault is."""
        return single.reason is not None and (self._retry or single.fault != "content")

    def _name(self, path: str, number: int) -> str:
        return name_part(self._spec, path, number)


def _group(paths: Iterable[str]) -> Iterator[list[str]]:
    group: list[str] = []
    for path in paths:
        group.append(path)
        if len(group) == GROUP:
            yield group
            group = []
    if group:
        yield group
