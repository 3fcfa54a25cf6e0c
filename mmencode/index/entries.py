"""The items that are to be added to an index, each with its key and metadata."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from ..embeddings.surrogates import escape_surrogates
from ..errors import InputError
from ..inputs import split_part
from ..inputs.owning import own_each
from ..inputs.source import is_stored
from ..plugins.composites import is_composite, parts_of
from ..plugins.modalities import find_modality
from .columns import plain_metadata
from .looking import LookedAt
from .stamps import ContentStamp, stamp_of_bytes, stamp_of_parts

KEPT = "text"  # the name under which the metadata of a row keeps its text


@dataclass(frozen=True, slots=True)
class Entry:
    """An item with its key, its position in the batch, and its `file` where it is one, or in one.

    The key is the name of that file, or it is one that the caller gave, which may have named another before.
    `metadata` is None where the caller gave none: then the metadata of the row that its key has stays.
    `text` is the item where that is kept beside its key. `error` says why a file that may hold several items
    is no item now.
    """

    key: str
    modality: str
    item: Any
    place: int
    file: LookedAt | None = None
    metadata: Mapping[str, Any] | None = None
    error: InputError | None = None
    named: bool = True
    text: str | None = None

    def look(self) -> ContentStamp:
        """Take the size and time of the file, without reading it; an empty stamp for other items.

        Also for a file that isn't the key: another file of the key's may have the same size and time.
        """
        return ContentStamp() if self.file is None or not self.named else self.file.look()

    def read(self, most: int) -> ContentStamp:
        """Take the hash of the content; without one above `most` bytes, which no reader takes."""
        if self.file is not None and self.named:
            return self.file.read(most)
        if is_composite(self.modality):
            return _stamp_of_composite(self.modality, self.item, most)
        return _stamp_of_item(self.modality, self.item, most, self.file)


def _stamp_of_composite(modality: str, item: Any, most: int) -> ContentStamp:
    """Take the hash of an item's parts; none for what isn't an item of such parts, as its reader will say."""
    names, given = parts_of(modality), tuple(item) if isinstance(item, (tuple, list)) else ()
    pairs = tuple(zip(names, given, strict=False)) if names else given
    if not given or (names and len(given) != len(names)):
        return ContentStamp()
    found: list[tuple[str, int | None, ContentStamp | None]] = []
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            return ContentStamp()
        part, content = pair
        found.append((part, None, None if content is None else _stamp_of_item(part, content, most)))
    return stamp_of_parts(found)


def _stamp_of_item(modality: str, item: Any, most: int, file: LookedAt | None = None) -> ContentStamp:
    """Take the hash of a path's content, with the number of the item in its file, of bytes or of a text.

    None for a path of a modality that nobody declares: what its encoder makes of it isn't known.
    """
    if is_stored(item) and item.get("bytes") is not None:
        item = item["bytes"]
    if isinstance(item, (str, os.PathLike)):
        if find_modality(modality) is None:
            return ContentStamp()
        file = file or _file(modality, item, None)
        if file is not None:
            _, number = split_part(modality, os.fsdecode(item))
            content = replace(file.read(most), size=None, time=None)
            return content if number is None else stamp_of_parts([(modality, number, content)])
    if isinstance(item, str):
        return stamp_of_bytes(item.encode("utf-8", "surrogatepass"))
    if isinstance(item, (bytes, bytearray, memoryview)) and memoryview(item).nbytes <= most:
        return stamp_of_bytes(item)
    return ContentStamp()


def make_entries(
    modality: str,
    items: Iterable[Any],
    keys: Iterable[str | os.PathLike[str]] | None,
    metadata: Iterable[Mapping[str, Any]] | None,
    *,
    keep_text: bool = False,
) -> Iterator[Entry]:
    """Join items, keys and metadata; ValueError where their numbers differ, or a key comes twice.

    With `keep_text`, also for metadata that has the name "text" already.
    """
    seen: set[str] = set()
    ends, file = object(), None
    sides = [own_each(items), *(side for side in (keys, metadata) if side is not None)]
    for place, parts in enumerate(zip_longest(*sides, fillvalue=ends)):
        if any(part is ends for part in parts):
            raise ValueError(
                f"items, keys and metadata differ in number: some end after {place}, others don't"
            )
        item = parts[0]
        key = own_key(item, place) if keys is None else os.fsdecode(parts[1])
        if key in seen:
            raise ValueError(
                f"item {place} has the key {key!r}, which an earlier item has: give each item its own"
            )
        seen.add(key)
        given = None if metadata is None else parts[-1]
        if given is not None:
            given = plain_metadata(given, place)  # a copy now: the iterable may reuse one mapping
        file = _file(modality, item, file)
        named = file is not None and key == os.fsdecode(item)
        text = str.__str__(item) if keep_text and isinstance(item, str) else None
        if text is not None and given is not None and given.get(KEPT, text) != text:
            raise ValueError(
                f"metadata of row {place} has the name {KEPT!r}, under which keep_text=True keeps the item "
                "itself: give it another name"
            )
        yield Entry(key, modality, item, place, file, given, named=named, text=text)


def escape_keys(keys: Sequence[str] | None) -> list[str]:
    """Escape the keys of vectors for storing; ValueError where there are none, or one comes twice."""
    if keys is None:
        raise ValueError("the embeddings have no keys: give them some, embeddings.with_keys(keys)")
    if len(set(keys)) < len(keys):
        twice = next(key for key, count in Counter(keys).items() if count > 1)
        raise ValueError(f"the key {twice!r} comes more than once: give each row its own")
    return list(keys) if "".join(keys).isascii() else [escape_surrogates(key) for key in keys]


def own_key(item: Any, place: int) -> str:
    """The key that a path or a text is for itself; ValueError for other items, InputError for None."""
    if isinstance(item, (str, os.PathLike)):
        return os.fsdecode(item)
    if item is None:
        raise InputError(
            "it is missing, so that it has no key either",
            source="None",
            remedy="leave out the rows without a value, as dropna() does, or give keys",
            index=place,
        )
    raise ValueError(f"item {place} is {type(item).__name__}, which is no key of its own: give keys")


def _file(modality: str, item: Any, before: LookedAt | None) -> LookedAt | None:
    """The file that an item is, or lies in; that of the item before it where it is the same."""
    if isinstance(item, str):
        spec = find_modality(modality)
        if spec is not None and not spec.names_files:
            return None
    elif not isinstance(item, os.PathLike):
        return None
    path, part = split_part(modality, os.fsdecode(item))
    if part is None:
        return LookedAt(path)
    return before if before is not None and before.path == path else LookedAt(path)
