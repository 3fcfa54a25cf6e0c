"""LanceDB: imported when an index needs it, and its errors as those of an index."""

from __future__ import annotations

import atexit
import functools
import gc
import os
import re
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import BuiltinFunctionType
from typing import Any

from ..errors import MmencodeError, StoreError
from ..errors.causes import message_of
from ..plugins.packages import import_package

DENIED = "give this user the right to read the folder and all that is in it, and to write for changes"
DAMAGED = "restore the folder from a copy, or make the index again from its files"
_FULL = ("No space left", "File too large", "Disk quota")
_FEW_FILES, _DENIED = "Too many open files", "Permission denied"
_LINE = re.compile(r",? /\S+\.rs:[0-9]+(:[0-9]+)?")
_HANDLES = "/proc/self/fd"  # what this process has open, by number: folders, wherever they are now
_BY_HANDLE = sys.platform == "linux" and os.path.isdir(_HANDLES)


def package(name: str) -> Any:
    """Import what an index needs; MissingPackageError without it."""
    return import_package(name, f"an index needs {name.partition('.')[0]}", "pip install 'mmencode[index]'")


def connect(folder: Path) -> Any:
    """A connection of its own to the tables of a folder, which shares no cache with another.

    It stays with the folder when that is moved and another takes its place: what is being written then never
    ends up among the rows of the other. That takes Linux; elsewhere it goes by the path. StoreError in a
    process that was forked from one that used LanceDB.
    """
    require_threads()
    # While an approximate index grows, LanceDB warns of steps of its own by the hundred.
    os.environ.setdefault("LANCEDB_LOG", "error")
    database = package("lancedb")
    if not _BY_HANDLE:
        return database.connect(os.path.abspath(folder))
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection = database.connect(f"{_HANDLES}/{handle}")
    except BaseException:
        os.close(handle)
        raise
    weakref.finalize(connection, os.close, handle)  # tables keep their connection
    return connection


def require_threads() -> None:
    """Raise StoreError in a process that was forked from one that used LanceDB.

    Its threads don't come along. LanceDB starts others, and more often than not these crash the process.
    """
    loop = sys.modules.get("lancedb.background_loop")
    if _process() != os.getpid() or getattr(loop, "_FORK_WARNED", False):
        raise StoreError(
            "this process was forked from one that has used an index, whose threads didn't come along",
            remedy='start processes by "spawn": multiprocessing.get_context("spawn"), '
            'DataLoader(..., multiprocessing_context="spawn"); or open indexes in the forked processes only',
        )


@functools.cache
def _process() -> int:
    """The process in which LanceDB was first used; its forked children are let exit."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_let_exit)
    return os.getpid()


def _let_exit() -> None:
    """Keep a forked process from LanceDB's way out, which waits for threads that didn't come along."""
    for found in gc.get_objects():
        if type(found) is BuiltinFunctionType and found.__name__ == "shutdown_runtime":
            atexit.unregister(found)


def spoken(cause: BaseException) -> str:
    """What LanceDB says of an error, without the lines of its source."""
    return _LINE.sub("", message_of(cause))


@contextmanager
def storing(folder: Path, doing: str) -> Iterator[None]:
    """Make StoreError of what LanceDB raises; it has the folder and LanceDB's own words.

    LanceDB has no classes of its own: it raises ValueError, OSError and others, and where Rust panics, when
    there are no file descriptors left say, something that is no Exception.
    """
    try:
        yield
    except (MmencodeError, GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as cause:
        said = re.sub(f"/?{_HANDLES[1:]}/[0-9]+", str(folder), spoken(cause))
        full = any(word in said for word in _FULL)
        what = "the disk is full: " if full else ""
        remedy = "make room and do it again; what was added before is there" if full else DAMAGED
        if _FEW_FILES in said:
            remedy = "close some files, or raise the limit (ulimit -n), and do it again; nothing is lost"
        if _DENIED in said:
            remedy = DENIED
        raise StoreError(
            f"the index can't be {doing}: {what}{said}", culprit=str(folder), remedy=remedy
        ) from cause
