"""Locks in a process that may be forked, so that a child goes on or raises, and never waits for ever."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..errors import EncoderError


class Guard:
    """A reentrant lock between the threads of one process, of which a forked process has its own.

    A fork copies the parent's locks, but of its threads only the one that forked, so that a lock which
    another thread held would never be released.
    """

    def __init__(self) -> None:
        self._locks = {os.getpid(): threading.RLock()}

    def __enter__(self) -> None:
        process = os.getpid()
        lock = self._locks.get(process) or self._locks.setdefault(process, threading.RLock())
        lock.acquire()

    def __exit__(self, *exception: object) -> None:
        # A process that was forked within the block leaves it by the parent's lock, which it entered with.
        self._locks.get(os.getpid(), next(iter(self._locks.values()))).release()


@dataclass(frozen=True, eq=False, slots=True)
class _Claim:
    thread: int
    names: frozenset[str]
    alone: bool


@dataclass(frozen=True, eq=False, slots=True)
class _Held:
    """The claims of one process."""

    claims: list[_Claim] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)


class Claims:
    """Locks with names between the threads of one process, of which a forked process has its own.

    A thread takes all that it needs at once, and within that as often as it likes, so that no two wait for
    each other.
    """

    def __init__(self) -> None:
        self._held = {os.getpid(): _Held()}

    @contextmanager
    def take(self, names: frozenset[str], *, alone: bool = False) -> Iterator[None]:
        """Hold these names; `alone` while no other thread holds any."""
        process, thread = os.getpid(), threading.get_ident()
        held = self._held.get(process) or self._held.setdefault(process, _Held())
        claim = _Claim(thread, names, alone)
        with held.changed:
            while any(_collide(claim, other) for other in held.claims):
                held.changed.wait()
            held.claims.append(claim)
        try:
            yield
        finally:
            if os.getpid() == process:  # not in one that was forked within the block: the claim isn't its own
                with held.changed:
                    held.claims.remove(claim)
                    held.changed.notify_all()


def _collide(claim: _Claim, other: _Claim) -> bool:
    exclusive = claim.alone or other.alone or bool(claim.names & other.names)
    return exclusive and claim.thread != other.thread


class Loads:
    """A record of the threads that are loading encoders, by process.

    A process that is forked meanwhile inherits the locks that they hold, such as import locks, and no thread
    that would release them.
    """

    def __init__(self) -> None:
        self._threads: dict[int, list[int]] = {}

    @contextmanager
    def one(self, name: str) -> Iterator[None]:
        """Record that this thread loads an encoder; EncoderError where that might wait for ever."""
        process, thread = os.getpid(), threading.get_ident()
        for other, threads in list(self._threads.items()):
            if other != process and set(threads) - {thread}:
                raise EncoderError(
                    f"encoder {name!r} can't be loaded: this process was forked while another thread was "
                    "loading one, and the locks which that thread held are never released here",
                    remedy="use each modality once before processes are forked, space.encode(modality, []); "
                    'or start processes by "spawn"',
                )
        loading = self._threads.setdefault(process, [])
        loading.append(thread)
        try:
            yield
        finally:
            loading.remove(thread)


loads: Loads = Loads()
