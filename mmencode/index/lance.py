"""The import of LanceDB when an index first needs it, and its errors, raised as StoreError."""

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
from types import BuiltinFunctionType
from typing import Any

from ..errors import BusyError, MmencodeError, StoreError
from ..errors.causes import message_of
from ..plugins.packages import import_package
from .places import Address, Place

DENIED = "give this user the right to read the folder with all its files, and to write there for changes"
DAMAGED = "restore the folder from a backup, or make the index again from its files"
_FULL = ("No space left", "File too large", "Disk quota")
_CONFLICT = ("ommit conflict", "oo many concurrent writers", "oncurrent modification")
_FEW_FILES, _DENIED = "Too many open files", "Permission denied"
_LINE = re.compile(r",? /\S+\.rs:[0-9]+(:[0-9]+)?")
_HANDLES = "/proc/self/fd"  # what this process has open, by number: folders, wherever they are now
_BY_HANDLE = sys.platform == "linux" and os.path.isdir(_HANDLES)


def package(name: str) -> Any:
    """Import a package that an index needs; MissingPackageError where it isn't installed."""
    return import_package(name, f"an index needs {name.partition('.')[0]}", "pip install 'mmencode[index]'")


def connect(folder: Place) -> Any:
    """Open a connection to the tables of an index, which shares no cache with any other connection.

    On Linux it goes by a handle on the folder, so that it stays with the folder when that is moved and
    another takes its place: rows that are being written never end up in the other index. Elsewhere it goes by
    the path. Raises StoreError in a process that was forked from one that used LanceDB.
    """
    require_threads()
    # While an approximate index grows, LanceDB warns of steps of its own by the hundred.
    os.environ.setdefault("LANCEDB_LOG", "error")
    database = package("lancedb")
    if isinstance(folder, Address):
        return database.connect(folder.url, storage_options=folder.lance_options())
    if not _BY_HANDLE:
        return database.connect(os.path.abspath(folder))
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection = database.connect(f"{_HANDLES}/{handle}")
    except BaseException:
        os.close(handle)
        raise
    weakref.finalize(connection, os.close, handle)  # tables hold on to their connection, so this is no sooner
    return connection


def require_threads() -> None:
    """Raise StoreError in a process that was forked from one that used LanceDB.

    A fork doesn't copy LanceDB's threads. LanceDB starts new ones, and these mostly crash the process.
    """
    loop = sys.modules.get("lancedb.background_loop")
    if _process() != os.getpid() or getattr(loop, "_FORK_WARNED", False):
        raise StoreError(
            "this process was forked from one that has used an index, whose threads a fork doesn't copy",
            remedy='start processes with "spawn": multiprocessing.get_context("spawn"), '
            'DataLoader(..., multiprocessing_context="spawn"); or open indexes in the forked processes only',
        )


@functools.cache
def _process() -> int:
    """The id of the process that used LanceDB first; registers what lets its forked children exit."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_let_exit)
    return os.getpid()


def _let_exit() -> None:
    """Unregister LanceDB's exit handler in a forked process: it would wait for threads that are not there."""
    for found in gc.get_objects():
        if type(found) is BuiltinFunctionType and found.__name__ == "shutdown_runtime":
            atexit.unregister(found)


def lance_message(cause: BaseException) -> str:
    """The message of one of LanceDB's errors, without the places in LanceDB's source code."""
    return _LINE.sub("", message_of(cause))


@contextmanager
def as_store_errors(folder: Place, doing: str) -> Iterator[None]:
    """Raise LanceDB's errors as StoreError, with the folder and LanceDB's message.

    `doing` completes "the index can't be ...". LanceDB has no classes of errors: it raises ValueError,
    OSError and others, and where its Rust code panics, for want of file descriptors say, a BaseException that
    is no Exception. That is why everything is caught here.
    """
    try:
        yield
    except (MmencodeError, GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as cause:
        if isinstance(folder, Address):
            raise _shared_error(folder, doing, cause) from cause
        said = re.sub(f"/?{_HANDLES[1:]}/[0-9]+", str(folder), lance_message(cause))
        full = any(word in said for word in _FULL)
        what = "the disk is full: " if full else ""
        remedy = "free some space and try again; what was added before is there" if full else DAMAGED
        if _FEW_FILES in said:
            remedy = "close some files, or raise the limit (ulimit -n), and try again; nothing is lost"
        if _DENIED in said:
            remedy = DENIED
        raise StoreError(
            f"the index can't be {doing}: {what}{said}", culprit=str(folder), remedy=remedy
        ) from cause


def _shared_error(address: Address, doing: str, cause: BaseException) -> StoreError:
    """Make the error for one of LanceDB's on object storage, without the secrets of its options."""
    said = lance_message(cause)
    for secret in address.options.values():
        said = said.replace(secret, "...") if len(secret) > 3 and secret in said else said
    if any(word in said for word in _CONFLICT):
        return BusyError(
            f"another writer committed to the index at the same time: {said}",
            culprit=str(address),
            remedy="try again; what either of you had committed is there",
        )
    remedy = "check the address, storage_options and credentials; what was committed before is there"
    return StoreError(f"the index can't be {doing}: {said}", culprit=str(address), remedy=remedy)
