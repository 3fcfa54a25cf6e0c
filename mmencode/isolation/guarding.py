"""Locks and loads in a process that may be forked: a child works on, or says at once why it can't."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import EncoderError


class Guard:
    """A lock between the threads of one process, which a thread may take several times.

    A forked process has one of its own: of the threads that might hold the parent's, only one came along.
    """

    def __init__(self) -> None:
        self._locks = {os.getpid(): threading.RLock()}

    def __enter__(self) -> None:
        process = os.getpid()
        lock = self._locks.get(process) or self._locks.setdefault(process, threading.RLock())
        lock.acquire()

    def __exit__(self, *exception: object) -> None:
        # One that was forked within the block leaves the block by the lock that it came in with.
        self._locks.get(os.getpid(), next(iter(self._locks.values()))).release()


class Loads:
    """Which threads of which process are loading an encoder.

    One that was forked meanwhile has what they held, import locks for one, and nobody who would let go of it.
    """

    def __init__(self) -> None:
        self._threads: dict[int, list[int]] = {}

    @contextmanager
    def one(self, name: str) -> Iterator[None]:
        """Let this thread load an encoder; EncoderError where that might wait for ever."""
        process, thread = os.getpid(), threading.get_ident()
        for other, threads in list(self._threads.items()):
            if other != process and set(threads) - {thread}:
                raise EncoderError(
                    f"encoder {name!r} can't be loaded: this process was forked while another thread was "
                    "loading one, and what that thread held is never let go of here",
                    remedy="use each modality once before processes are forked, space.encode(modality, []); "
                    'or start them by "spawn"',
                )
        loading = self._threads.setdefault(process, [])
        loading.append(thread)
        try:
            yield
        finally:
            loading.remove(thread)


loads = Loads()
