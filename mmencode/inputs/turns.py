"""One thread at a time for each object, and no waiting for ever for the one that has it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ..errors import InputError

_LONGEST = threading.TIMEOUT_MAX


class Turns:
    """A lock for each object that is in work, whatever its type; other objects are worked on meanwhile."""

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    @contextmanager
    def at(self, *objects: Any, seconds: float, source: str) -> Iterator[None]:
        """Have these objects alone; InputError when another thread doesn't let go of one for so long.

        None is no object.
        """
        with ExitStack() as stack:
            for one in objects:
                if one is not None:
                    stack.enter_context(self._turn(one, seconds, source))
            yield

    @contextmanager
    def _turn(self, one: Any, seconds: float, source: str) -> Iterator[None]:
        with self._mutex:  # for a moment only
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
        """Threads that had a turn don't come along into a process that is forked."""
        self._mutex = threading.Lock()
        self._locks: dict[int, tuple[threading.Lock, int]] = {}
