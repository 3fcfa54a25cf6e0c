"""Files and folders that appear whole or not at all, and regular files to read."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def file_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new file beside the target to write to, renamed to it when that went well and removed when it didn't.

    Its name can't be guessed, so that no other writer has it and no link waits there; a target that is a
    link is replaced, not followed. What was written is on the disk before the name is.
    """
    target = Path(path)
    aside = _beside(target)
    os.close(os.open(aside, _NEW, 0o666))
    try:
        yield aside
        _sync(aside)
        aside.replace(target)
        _sync(target.parent)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def folder_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """The path beside the target at which the block makes a folder, which then becomes the target.

    Raises FileExistsError when that is there, before the block or behind it, and FileNotFoundError.
    """
    target = Path(path)
    require_new(target)
    aside = _beside(target)
    try:
        yield aside
        for root, _, names in os.walk(aside):
            for name in names:
                _sync(Path(root, name))
            _sync(Path(root))
        require_new(target)  # somebody may have made it meanwhile
        aside.rename(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def open_regular(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A regular file to read; OSError for a folder, a pipe or a device, without waiting for one."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("it is no regular file")
        yield file


def size_of(file: BinaryIO) -> int:
    """The bytes of an open file."""
    return os.fstat(file.fileno()).st_size


def read_whole(path: str | os.PathLike[str], most: int) -> bytes:
    """The content of a regular file; OSError as `opened`, ValueError for more than `most` bytes."""
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most} bytes")
    return content


def require_new(folder: str | os.PathLike[str]) -> None:
    """Raise FileExistsError when something is there, FileNotFoundError when there is no place for it."""
    target = Path(folder)
    if os.path.lexists(target):
        raise FileExistsError(f"{target} is there already: choose another folder, or remove it")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent} to write {target.name} into")


def _beside(target: Path) -> Path:
    """A name beside the target that nobody can guess, short enough whatever the target's length."""
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(16)}.part")


def _sync(path: Path) -> None:
    """Have the operating system write out a file or a folder, where it can do that."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
