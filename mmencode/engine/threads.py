"""A pool of threads that survives work which hangs: such a thread is given up, and all are gone at exit."""

from __future__ import annotations

import atexit
import ctypes
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol

NAME = "mmencode"
_LINGER = 1.0  # seconds that a thread waits for more work
_FAREWELL = 5.0  # seconds that the end of the process waits for threads in the middle of an item
_LAST = 0.5  # seconds that it waits once more, when it has told them to stop
_MOST = 64  # threads of one space that may go on with what was given up

Inbox = queue.SimpleQueue["Callable[[], bool] | None"]


class Lender(Protocol):
    """Somebody who has threads at work, and must let them go when the process ends."""

    def let_go(self) -> None:
        """Tell the threads to end, without waiting for them."""


class Threads:
    """Threads that wait a moment for more before they end: to start one takes longer than a short text.

    They are daemons, so that one which hangs doesn't keep the interpreter from ending. The others must be
    gone before the interpreter is: a thread that comes back from C code after that aborts the process.
    """

    def __init__(self) -> None:
        self._idle: list[tuple[threading.Thread, Inbox]] = []
        self._alive: set[threading.Thread] = set()
        self._given_up: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._lenders: weakref.WeakSet[Lender] = weakref.WeakSet()
        self._ending = False
        self._at_exit = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def run(self, work: Callable[[], bool]) -> threading.Thread:
        """Have a thread do it, an idle one where there is one; it ends when `work` gives False."""
        thread, inbox = self._idle_one() or self._new_one()
        inbox.put(work)
        return thread

    def _idle_one(self) -> tuple[threading.Thread, Inbox] | None:
        while self._idle:
            try:
                thread, inbox = self._idle.pop()
            except IndexError:  # another thread took the last one
                return None
            if thread.is_alive():  # it isn't where somebody killed it
                return thread, inbox
        return None

    def _new_one(self) -> tuple[threading.Thread, Inbox]:
        inbox: Inbox = queue.SimpleQueue()
        thread = threading.Thread(target=self._live, args=(inbox,), name=NAME, daemon=True)
        self._alive.add(thread)
        self._prepare_for_exit()
        thread.start()
        return thread, inbox

    def lend(self, lender: Lender) -> None:
        """Remember who must let threads go when the process ends."""
        self._lenders.add(lender)

    def abandon(self, thread: threading.Thread) -> None:
        """Wait for this thread no more: it hangs."""
        self._given_up.add(thread)

    def _live(self, inbox: Inbox) -> None:
        thread = threading.current_thread()
        try:
            while (work := self._next(thread, inbox)) is not None:
                fit = work()
                del work  # and with it all that it refers to
                if not fit or self._ending:
                    return
                self._idle.append((thread, inbox))
        except SystemExit:  # somebody told it to stop, as `stop` does
            return
        finally:
            self._alive.discard(thread)

    def _next(self, thread: threading.Thread, inbox: Inbox) -> Callable[[], bool] | None:
        try:
            return inbox.get(timeout=_LINGER)
        except queue.Empty:
            try:
                self._idle.remove((thread, inbox))
            except ValueError:  # taken in this very moment: its work is on its way
                return inbox.get()
            return None

    def _prepare_for_exit(self) -> None:
        """Ask to be told of the exit, late: what registers first, torch for one, is called last."""
        if not self._at_exit:
            self._at_exit = True
            atexit.register(self._end)

    def _end(self) -> None:
        """Let all threads go, and wait until they have; one that hangs is told to stop, and then left."""
        self._ending = True
        for lender in list(self._lenders):
            lender.let_go()
        while self._idle:
            self._idle.pop()[1].put(None)
        for thread in list(self._given_up):
            stop(thread)
        _join(self._alive - set(self._given_up), _FAREWELL)
        for thread in list(self._alive):
            stop(thread)
        _join(self._alive, _LAST)
        self._ending = False  # what other exits encode may have threads again

    def _forget(self) -> None:
        """Threads don't come along into a process that is forked."""
        self._idle, self._alive = [], set()
        self._given_up, self._lenders = weakref.WeakSet(), weakref.WeakSet()


def _join(those: set[threading.Thread], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for thread in list(those):
        thread.join(max(0.0, deadline - time.monotonic()))


def stop(thread: threading.Thread) -> None:
    """Raise SystemExit in a thread where it next runs Python; code in C goes on until it comes back."""
    if thread.ident is not None and thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))


class Stragglers:
    """The threads of one space that go on with items which were given up; only so many may."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._threads: list[threading.Thread] = []

    def add(self, thread: threading.Thread) -> None:
        """Count a thread that ends with the item that it is at."""
        self._threads.append(thread)

    def has_room(self, seconds: float) -> bool:
        """Whether another thread may be added, after waiting up to `seconds` for one to end."""
        deadline = time.monotonic() + seconds
        while self.count() >= self._most:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def count(self) -> int:
        """Count the threads that are still at work."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        return len(self._threads)

    def stop(self) -> None:
        """Tell all of them to stop, as far as they run Python."""
        self.count()
        for thread in self._threads:
            stop(thread)


threads: Threads = Threads()
