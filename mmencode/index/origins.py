"""The origins of rows: the item that a row was made of, where it is still there and still the same."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..inputs import split_part
from ..plugins.composites import is_composite
from ..plugins.modalities import find_modality
from .entries import make_entries
from .looking import LookedAt
from .stamps import ContentStamp, stamp_of_bytes, stamp_of_parts, stamp_of_status

NONE = ContentStamp()
State = Literal["same", "unverified", "lost"]


@dataclass(frozen=True, slots=True)
class Origin:
    """The item of a row, or the reason why there is none.

    state  "same" where its content is that of the row, by size and time or by hash; "unverified" where the
           index keeps nothing to tell that by; "lost" where it is gone, or another by now
    file   the path of the file that the item is, or lies in, as it was looked at
    """

    state: State
    item: Any = None
    reason: str = ""
    file: str = ""
    stamp: ContentStamp = NONE

    @property
    def is_unchanged(self) -> bool:
        """Whether the file is as it was when it was looked at; true of other items."""
        if not self.file:
            return True
        now = stamp_of_status(self.file)
        recent = -1 in (now.time, self.stamp.time)  # then the time tells nothing
        return now.size == self.stamp.size and (recent or now.time == self.stamp.time)


@dataclass(frozen=True, slots=True)
class Origins:
    """The places where the items of rows are looked for.

    items  given by the caller, by key
    root   the folder that relative paths are relative to, "" for the current one
    most   bytes of a file that is read to compare its hash
    """

    items: Mapping[str, Any]
    root: str
    most: int

    def find(self, modality: str, key: str, stamp: ContentStamp, text: str | None) -> Origin:
        """Find the item of a row, of which the index keeps its key, its stamp and maybe its text."""
        if key in self.items:
            return self._take_given(modality, key, stamp)
        spec = find_modality(modality)
        if is_composite(modality):
            return _lose("its parts aren't kept: pass the item by its key in `items`")
        if spec is not None and not spec.names_files:
            return _find_text(key, stamp, text)
        return self._find_file(modality, key, stamp)

    def _take_given(self, modality: str, key: str, stamp: ContentStamp) -> Origin:
        item = self.items[key]
        if stamp.digest is None:
            return Origin("same", item)
        entry = next(make_entries(modality, [item], [key], None))
        found = entry.read(self.most)
        if found.digest != stamp.digest and found.digest is not None:
            return _lose("the item that was passed for its key has another content")
        return Origin("same", item)

    def _find_file(self, modality: str, key: str, stamp: ContentStamp) -> Origin:
        path, number = split_part(modality, key)
        path = os.path.join(self.root, path) if self.root else path
        item = os.path.join(self.root, key) if self.root else key
        now = stamp_of_status(path)
        there = now.size is not None
        if stamp.digest is None:
            if there:
                return Origin("unverified", item, file=path, stamp=now)
            return _lose("it was added as a vector, and no file has its key")
        if not there:
            named = stamp.size is not None
            return _lose(
                "its file isn't there" if named else "its content isn't kept, and no file has its key"
            )
        if stamp.is_as_old_as(now):
            return Origin("same", item, file=path, stamp=now)
        content = LookedAt(path).read(self.most)
        if stamp.size is None and number is not None:
            content = replace(stamp_of_parts([(modality, number, content)]), size=content.size)
        if content.digest is None:
            return _lose("its file can't be read, or is too large to compare")
        if content.digest != stamp.digest:
            return _lose("its file was changed since it was added: add or sync it first, or leave it out")
        return Origin("same", item, file=path, stamp=now)


def _find_text(key: str, stamp: ContentStamp, text: str | None) -> Origin:
    """Find the text of a row: the one kept beside its key, or the key itself, if it has the row's hash."""
    if stamp.digest is None:
        if text is not None:
            return Origin("unverified", text)
        return _lose("it was added as a vector, and its text isn't kept")
    for one in (text, key):
        if one is not None and stamp_of_bytes(one.encode("utf-8", "surrogatepass")).digest == stamp.digest:
            return Origin("same", one)
    return _lose("its text isn't kept, and is not its key")


def _lose(reason: str) -> Origin:
    return Origin("lost", reason=reason)
