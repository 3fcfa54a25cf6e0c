"""Items on their way into an index, and how their content is told from what was there."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from ..embeddings.surrogates import escape_surrogates
from ..errors import InputError
from ..inputs.owning import own_each
from ..plugins.spec import TEXT
from .columns import plain_metadata
from .store import Known

_RACY = 2_000_000_000  # ns within which a file may change again and keep its time
_UNSETTLED = -1
_PIECE = 2**20


@dataclass(frozen=True, slots=True)
class Source:
    """Where an item's content is from; `hash` is None for what can't be read, or has no bytes of its own."""

    hash: str | None = None
    size: int | None = None
    time: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One item: its key, its place in the batch, its `path` where it is a file.

    `metadata` is what is said about it now, None where what was said before holds.
    """

    key: str
    modality: str
    item: Any
    place: int
    path: str | None = None
    metadata: Mapping[str, Any] | None = None

    def stated(self) -> Source:
        """Size and time of the file, without reading it."""
        return Source() if self.path is None else _stated(self.path)

    def read(self, most: int) -> Source:
        """The same with the content's hash; None for more than `most` bytes, which no reader takes."""
        if self.path is not None:
            return _read(self.path, most)
        if isinstance(self.item, str):
            return Source(_digest(self.item.encode("utf-8", "surrogatepass")))
        if isinstance(self.item, (bytes, bytearray, memoryview)) and memoryview(self.item).nbytes <= most:
            return Source(_digest(self.item))
        return Source()


def entries(
    modality: str,
    items: Iterable[Any],
    keys: Iterable[str | os.PathLike[str]] | None,
    metadata: Iterable[Mapping[str, Any]] | None,
) -> Iterator[Entry]:
    """The items with their keys and metadata; ValueError where these aren't as many, or a key comes twice."""
    seen: set[str] = set()
    ends = object()
    sides = [own_each(items), *(side for side in (keys, metadata) if side is not None)]
    for place, parts in enumerate(zip_longest(*sides, fillvalue=ends)):
        if any(part is ends for part in parts):
            raise ValueError(f"items, keys and metadata aren't as many: some end after {place}, others don't")
        item = parts[0]
        key = own_key(item, place) if keys is None else os.fsdecode(parts[1])
        if key in seen:
            raise ValueError(
                f"item {place} has the key {key!r}, which another before it has: give each its own"
            )
        seen.add(key)
        said = None if metadata is None else parts[-1]
        if said is not None:
            said = plain_metadata(said, place)  # now, since what gives it may use one mapping again
        yield Entry(key, modality, item, place, _path(modality, item), said)


def escaped_keys(keys: Sequence[str] | None) -> list[str]:
    """The keys of vectors as they are stored; ValueError without any, or where one comes twice."""
    if keys is None:
        raise ValueError("the embeddings have no keys: give them some, embeddings.with_keys(keys)")
    if len(set(keys)) < len(keys):
        twice = next(key for key, count in Counter(keys).items() if count > 1)
        raise ValueError(f"the key {twice!r} comes more than once: give each row its own")
    return list(keys) if "".join(keys).isascii() else [escape_surrogates(key) for key in keys]


def own_key(item: Any, place: int) -> str:
    """A path's or a text's own words; ValueError for an item without a name, InputError for none at all."""
    if isinstance(item, (str, os.PathLike)):
        return os.fsdecode(item)
    if item is None:
        raise InputError(
            "it is missing, so that it has no name either",
            source="None",
            remedy="leave out the rows without a value, as dropna() does, or give keys",
            index=place,
        )
    raise ValueError(f"item {place} is {type(item).__name__}, which has no name: give keys")


def _path(modality: str, item: Any) -> str | None:
    is_path = isinstance(item, os.PathLike) or (isinstance(item, str) and modality != TEXT)
    return os.fsdecode(item) if is_path else None


def same(known: Known, found: Source) -> bool:
    """Whether the content is as it was, by its hash."""
    return found.hash is not None and known.hash == found.hash


def looks_same(known: Known, stated: Source) -> bool:
    """Whether size and time say so already."""
    as_before = (known.size, known.time) == (stated.size, stated.time)
    return known.hash is not None and stated.time not in (None, _UNSETTLED) and as_before


def _stated(path: str) -> Source:
    try:
        return _of(os.stat(path))
    except (OSError, ValueError):
        return Source()


def _of(status: os.stat_result, digest: str | None = None) -> Source:
    if not stat.S_ISREG(status.st_mode):
        return Source()
    settled = time.time_ns() - status.st_mtime_ns > _RACY
    return Source(digest, status.st_size, status.st_mtime_ns if settled else _UNSETTLED)


def _read(path: str, most: int) -> Source:
    """Size and time are those before the reading: a change during it shows as one later.

    No more is read than the file says it has: what a kernel makes up, /proc/kmsg say, has size 0 and no end.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with open(handle, "rb", buffering=0) as file:
            before = os.fstat(handle)
            left = before.st_size
            if not stat.S_ISREG(before.st_mode) or left > most:  # reading a pipe might never end
                return _of(before)
            digest = hashlib.blake2b(digest_size=16)
            while left and (piece := file.read(min(left, _PIECE))):
                digest.update(piece)
                left -= len(piece)
        return _of(before, digest.hexdigest())
    except (OSError, ValueError):
        return Source()


def _digest(content: bytes | bytearray | memoryview) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
