"""Stamps of content, by which an item that is unchanged since an earlier addition isn't encoded again."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

_RACY = 2_000_000_000  # ns within which a file may change again and keep its time
_UNSETTLED = -1
_PIECE = 2**20


@dataclass(frozen=True, slots=True)
class ContentStamp:
    """The hash of an item's content and, of a file, its size and the time in ns of its last change.

    `hash` is None for content that can't be read, or is no path, bytes or text. `time` is -1 where the file
    changed so shortly before it was read that a later change may show the same time. The hash of a file that
    holds several items ends in their number: "...#12".
    """

    hash: str | None = None
    size: int | None = None
    time: int | None = None

    def has_content_of(self, other: ContentStamp) -> bool:
        """Whether both stamps are of the same content, by its hash."""
        return self.hash is not None and self.digest == other.digest

    @property
    def digest(self) -> str | None:
        """The hash of the content alone, without the number of its items."""
        return self.hash and self.hash.partition("#")[0]

    @property
    def parts(self) -> int | None:
        """The number of items in the file, where it is known."""
        _, _, count = (self.hash or "").partition("#")
        return int(count) if count.isdecimal() else None

    def with_parts(self, count: int | None) -> ContentStamp:
        """Note in the hash how many items the file holds."""
        return self if count is None or self.digest is None else replace(self, hash=f"{self.digest}#{count}")

    def is_as_old_as(self, file: ContentStamp) -> bool:
        """Whether a file's size and time are those of this stamp, so that the file needn't be read."""
        same = (self.size, self.time) == (file.size, file.time)
        return self.hash is not None and file.time not in (None, _UNSETTLED) and same


def stamp_of_status(path: str) -> ContentStamp:
    """Take the size and time of a file, without reading it; an empty stamp where it can't be looked at."""
    try:
        return _stamp(os.stat(path))
    except (OSError, ValueError):
        return ContentStamp()


def stamp_of_file(path: str, most: int) -> ContentStamp:
    """Read a file and take its hash, size and time; no hash above `most` bytes, or where it can't be read.

    Size and time are those before the reading, so that a change during it shows later. No more is read than
    the size that the file states: files that a kernel makes up, /proc/kmsg say, have size 0 and no end.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with open(handle, "rb", buffering=0) as file:
            before = os.fstat(handle)
            left = before.st_size
            if not stat.S_ISREG(before.st_mode) or left > most:  # reading a pipe might never end
                return _stamp(before)
            digest = hashlib.blake2b(digest_size=16)
            while left and (piece := file.read(min(left, _PIECE))):
                digest.update(piece)
                left -= len(piece)
        return _stamp(before, digest.hexdigest())
    except (OSError, ValueError):
        return ContentStamp()


def stamp_of_bytes(content: bytes | bytearray | memoryview) -> ContentStamp:
    """Hash content that is in memory."""
    return ContentStamp(hashlib.blake2b(content, digest_size=16).hexdigest())


def stamp_of_parts(parts: Sequence[tuple[str, int | None, ContentStamp | None]]) -> ContentStamp:
    """Hash an item of the contents of its parts: of each the modality, its number in its file, and its stamp.

    The stamp is None for an absent part. No hash where the content of one that is there isn't known.
    """
    total = hashlib.blake2b(digest_size=16)
    for modality, number, stamp in parts:
        if stamp is not None and stamp.digest is None:
            return ContentStamp()
        content = "absent" if stamp is None else stamp.digest
        total.update(f"{modality}\0{'' if number is None else number}\0{content}\0".encode())
    return ContentStamp(total.hexdigest())


def _stamp(status: os.stat_result, digest: str | None = None) -> ContentStamp:
    if not stat.S_ISREG(status.st_mode):
        return ContentStamp()
    settled = time.time_ns() - status.st_mtime_ns > _RACY
    return ContentStamp(digest, status.st_size, status.st_mtime_ns if settled else _UNSETTLED)
