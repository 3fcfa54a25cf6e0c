"""LanceDB: imported when an index needs it, and its errors as those of an index."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from ..causes import words
from ..errors import MissingPackageError, MmencodeError, StoreError

DAMAGED = "restore the folder from a copy, or make the index again from its files"
_FULL = ("No space left", "File too large", "Disk quota")
_FEW_FILES = "Too many open files"


def package(name: str) -> Any:
    """Import what an index needs; MissingPackageError without it."""
    try:
        return import_module(name)
    except ImportError as cause:
        raise MissingPackageError(
            f"an index needs {name.partition('.')[0]}: {words(cause)}", remedy="pip install 'mmencode[index]'"
        ) from cause


def connect(folder: Path) -> Any:
    """A connection of its own to the tables of a folder, which shares no cache with another.

    StoreError in a process that was forked from one that used LanceDB.
    """
    require_threads()
    # While an approximate index grows, LanceDB warns of steps of its own by the hundred.
    os.environ.setdefault("LANCEDB_LOG", "error")
    return package("lancedb").connect(os.path.abspath(folder))


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
    """The process in which LanceDB was first used."""
    return os.getpid()


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
        said = words(cause)
        full = any(word in said for word in _FULL)
        what = "the disk is full: " if full else ""
        remedy = "make room and do it again; what was added before is there" if full else DAMAGED
        if _FEW_FILES in said:
            remedy = "close some files, or raise the limit (ulimit -n), and do it again; nothing is lost"
        raise StoreError(
            f"the index can't be {doing}: {what}{said}", culprit=str(folder), remedy=remedy
        ) from cause
