"""A lock on a file for one writer at a time, across threads and processes.

The kernel releases it when the process that holds it dies, however that dies.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import BusyError, StoreError
from ..errors.causes import message_of

if sys.platform == "win32":
    import msvcrt

    def _take(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

    def _let_go(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _take(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _let_go(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)


WAIT = 60.0  # seconds
_PAUSE = 0.01
_LOCKED = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_FLAGS = os.O_RDWR | os.O_CREAT
for _flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_NOINHERIT"):
    _FLAGS |= getattr(os, _flag, 0)


class WriteLock:
    """A lock on the file `path` that one thread of one process holds at a time; it may be taken again within.

    Others wait for it at most `wait` seconds, by default WAIT.

    Two locks are needed: the kernel's belongs to the open file, which the threads of a process share, so an
    RLock keeps the threads apart.
    """

    def __init__(self, path: Path, wait: float | None = None) -> None:
        self._path = path
        self._wait = wait
        self._thread = threading.RLock()
        self._depth = 0
        self._handle: int | None = None

    @property
    def _seconds(self) -> float:
        return WAIT if self._wait is None else self._wait

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock within the block.

        Raises BusyError when another process or thread has it for longer than that; StoreError where the file
        system can't lock, for a lock that is a link or no file, and for a folder that can't be written to.
        """
        if not self._thread.acquire(timeout=self._seconds):
            raise self._busy("thread")
        try:
            if not self._depth:
                self._handle = self._acquire()
                _held_locks.add(self)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if not self._depth:
                    self._release()
        finally:
            self._thread.release()

    def _release(self) -> None:
        handle, self._handle = self._handle, None
        _held_locks.discard(self)
        if handle is not None:
            try:
                # A child forked meanwhile has the same open file: closing ours would leave it locked.
                _let_go(handle)
            finally:
                os.close(handle)

    def _acquire(self) -> int:
        """Open and lock the file, again where its name has passed to another file meanwhile."""
        deadline = time.monotonic() + self._seconds
        while True:
            handle = self._open()
            try:
                if self._wait_for(handle, deadline):
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)

    def _open(self) -> int:
        try:
            handle = os.open(self._path, _FLAGS, 0o666)
        except OSError as cause:
            what = "is a link" if cause.errno == errno.ELOOP else f"can't be opened: {message_of(cause)}"
            remedy = "make sure that the folder exists, and remove the lock where it is no regular file"
            if cause.errno in _DENIED:
                remedy = "the index can be read; to change it takes the right to write to its folder and lock"
            raise StoreError(f"the index's lock {what}", culprit=str(self._path), remedy=remedy) from cause
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise StoreError(
                "the index's lock is no regular file",
                culprit=str(self._path),
                remedy="remove it: it is made anew",
            )
        return handle

    def _wait_for(self, handle: int, deadline: float) -> bool:
        """Wait until the handle has the lock; false where its file no longer has the lock's name.

        Somebody may have removed the file meanwhile, and the next writer made another: a lock on the one that
        lost its name would exclude nobody.
        """
        while True:
            try:
                _take(handle)
                break
            except OSError as cause:
                if cause.errno not in _LOCKED:
                    raise StoreError(
                        f"the file system can't lock files: {message_of(cause)}",
                        culprit=str(self._path.parent),
                        remedy="keep the index on a disk that can, or mount the network share with locks",
                    ) from cause
                if time.monotonic() >= deadline:
                    raise self._busy("process") from cause
            time.sleep(_PAUSE)
        with suppress(OSError):
            return os.path.samestat(os.fstat(handle), os.stat(self._path))
        return False

    def _busy(self, who: str) -> BusyError:
        return BusyError(
            f"another {who} has been writing to the index for {self._seconds:g} s",
            culprit=str(self._path.parent),
            remedy="wait until it ends, then try again; rows that were added so far stay",
        )

    def forget(self) -> None:
        """Close the handle that a forked child inherits, without unlocking: the parent holds the lock."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


class ThreadLock:
    """The right to write of one thread at a time within this process; other processes need no lock."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the right within the block."""
        with self._lock:
            yield


_held_locks: weakref.WeakSet[WriteLock] = weakref.WeakSet()


def _forget_in_child() -> None:
    for lock in list(_held_locks):
        lock.forget()
    _held_locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
