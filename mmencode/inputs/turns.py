"""Locks by object identity: one thread at a time works on an object, and others wait for a bounded time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ..errors import InputError

_LONGEST = threading.TIMEOUT_MAX


class Turns:
    """Locks for any objects, hashable or not, each kept only as long as a thread holds or awaits it."""

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    @contextmanager
    def at(self, *objects: Any, seconds: float, source: str) -> Iterator[None]:
        """Lock these objects while the block runs; InputError if another thread keeps one for `seconds`.

        None among them is passed over.
        """
        with ExitStack() as stack:
            for one in objects:
                if one is not None:
                    stack.enter_context(self._turn(one, seconds, source))
            yield

    @contextmanager
    def _turn(self, one: Any, seconds: float, source: str) -> Iterator[None]:
        with self._mutex:  # guards the dict only; nobody waits for an object while holding it
            lock, waiting = self._locks.get(id(one), (threading.Lock(), 0))
            self._locks[id(one)] = lock, waiting + 1
        try:
            if not lock.acquire(timeout=min(seconds, _LONGEST)):
                raise InputError(
                    f"another thread has been reading it for {seconds:g} s",
                    source=source,
                    remedy="leave it out; if it stands twice in the batch, pass a copy",
                    fault="time",
                )
            try:
                yield
            finally:
                lock.release()
        finally:
            with self._mutex:
                lock, waiting = self._locks[id(one)]
                self._locks[id(one)] = lock, waiting - 1
                if waiting == 1:
                    del self._locks[id(one)]

    def _forget(self) -> None:
        """Drop all locks, as a forked process must, in which the threads that hold them don't exist."""
        self._mutex = threading.Lock()
        self._locks: dict[int, tuple[threading.Lock, int]] = {}
