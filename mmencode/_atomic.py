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
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def file_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a new file beside the target, which takes the target's place when the block succeeds.

    When the block raises, the new file is removed and the target stays as it was. The new file's name can't
    be guessed, so that no other writer shares it and no link was planted there; a target that is a link is
    replaced, not followed. The content is synced to the disk before the rename.
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
    """Yield a path beside the target at which the block makes a folder, which is then renamed to the target.

    Raises FileExistsError when the target exists, before the block or after it, and FileNotFoundError when
    the folder around it doesn't.
    """
    target = Path(path)
    require_new(target)
    with _path_aside(target) as aside:
        yield aside
        sync_all(aside)
        require_new(target)  # somebody may have made it meanwhile
        aside.rename(target)
        _sync(target.parent)


@contextmanager
def content_aside(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside an empty folder at which the block makes one, whose entries are then moved into it.

    The target stays the same folder, since it may be somebody's current one. Nothing is moved when the block
    raises.
    """
    target = Path(folder)
    with _path_aside(target) as aside:
        yield aside
        sync_all(aside)
        for entry in sorted(aside.iterdir()):
            entry.rename(target / entry.name)
        _sync(target)


@contextmanager
def open_regular(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a regular file to read; OSError for a folder, a pipe or a device, without waiting for one."""
    handle = os.open(path, _READ)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("it is no regular file")
    except OSError:
        os.close(handle)
        raise
    with os.fdopen(handle, "rb") as file:
        yield file


def size_of(file: BinaryIO) -> int:
    """The number of bytes in an open file."""
    return os.fstat(file.fileno()).st_size


def read_whole(path: str | os.PathLike[str], most: int) -> bytes:
    """Read a regular file; OSError as `open_regular`, ValueError for more than `most` bytes."""
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most} bytes")
    return content


def require_new(folder: str | os.PathLike[str]) -> None:
    """Raise FileExistsError when the path exists, FileNotFoundError when the folder around it doesn't."""
    target = Path(folder)
    if os.path.lexists(target):
        raise FileExistsError(f"{target} is there already: choose another folder, or remove it")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent} to write {target.name} into")


@contextmanager
def _path_aside(target: Path) -> Iterator[Path]:
    """Yield a path beside the target, and remove the folder that is left there after the block."""
    aside = _beside(target)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def sync_all(folder: Path) -> None:
    """Have the operating system write all files of a folder to the disk, where it can do that."""
    for root, _, names in os.walk(folder):
        for name in names:
            _sync(Path(root, name))
        _sync(Path(root))


def _beside(target: Path) -> Path:
    """A hidden name beside the target that nobody can guess, short enough whatever the target's length."""
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(16)}.part")


def _sync(path: Path) -> None:
    """Have the operating system write a file or a folder to the disk, where it can do that."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
