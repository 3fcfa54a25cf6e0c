"""A gate that lets only so many bytes be under decoding at once, in all threads together."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property

from ..errors import InputError

_LONGEST = 600.0  # seconds after which a hold ends in any case, where `Limits.wait` is longer
_UNKNOWN = 2**34  # bytes of memory of a machine that doesn't say how many it has
_CONTAINERS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Gate:
    """Holds of bytes, of which those that are let in together stay within `capacity`.

    An item that is larger than that comes in alone. Nobody waits for longer than half of what an item may
    take, and a hold ends when its item's time is over, since that has been given up then.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Forget all holds, as a forked process must, in which the threads that have them don't go on."""
        self._changed = threading.Condition()
        self._holds: dict[object, tuple[int, float]] = {}

    @cached_property
    def capacity(self) -> int:
        """A quarter of the memory that there is: encoders, and what was decoded before, need some, too."""
        return memory() // 4

    @contextmanager
    def holding(self, nbytes: int, seconds: float, source: str) -> Iterator[None]:
        """Come in with so many bytes, for an item that may take so long; InputError if there is no room."""
        hold, seconds = object(), min(seconds, _LONGEST)
        with self._changed:
            if not self._waited(nbytes, seconds / 2):
                raise InputError(
                    f"decoding it takes about {nbytes} bytes, and others hold {self._held()} of "
                    f"{self.capacity} meanwhile: no room came free within {seconds / 2:g} s",
                    source=source,
                    remedy="try it again, with fewer threads: load(name, workers=1)",
                    fault="process",
                )
            self._holds[hold] = nbytes, time.monotonic() + seconds
        try:
            yield
        finally:
            with self._changed:
                self._holds.pop(hold, None)
                self._changed.notify_all()

    def _waited(self, nbytes: int, seconds: float) -> bool:
        """Wait until there is room for so many bytes; whether there is."""
        end = time.monotonic() + seconds
        while not self._fits(nbytes) and (left := end - time.monotonic()) > 0:
            next_end = min(until for _, until in self._holds.values()) - time.monotonic()
            self._changed.wait(min(left, max(0.001, next_end)))
        return self._fits(nbytes)

    def _fits(self, nbytes: int) -> bool:
        held = self._held()
        return not held or held + nbytes <= self.capacity

    def _held(self) -> int:
        now = time.monotonic()
        return sum(nbytes for nbytes, until in self._holds.values() if until > now)


def memory() -> int:
    """The bytes of memory that this machine has, or that its container may use."""
    found = [_UNKNOWN]
    with suppress(AttributeError, OSError, ValueError):  # Windows has no sysconf
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in _CONTAINERS:
        with suppress(OSError, ValueError), open(path) as file:
            found.append(int(file.read(64)))
    return min(found)


common_gate = Gate()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=common_gate.renew)
