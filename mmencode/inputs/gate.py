"""A gate that bounds the memory of all decoding in the process, over all threads together."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property

from ..errors import InputError

_LONGEST = 600.0  # seconds after which a hold expires in any case, where `Limits.wait` is longer
_UNKNOWN = 2**34  # bytes of memory assumed where the system doesn't tell
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Gate:
    """A semaphore over bytes: the items decoded at the same time hold at most `capacity` of them.

    An item larger than the capacity is decoded alone. A thread waits at most half of its item's time limit
    (`Limits.wait`). A hold expires when its item's time limit is over: the caller has given the item up then,
    and a decoder that hangs mustn't keep the others out.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Drop all holds, as a forked process must, in which the threads that hold bytes don't exist."""
        self._changed = threading.Condition()
        self._holds: dict[object, tuple[int, float]] = {}

    @cached_property
    def capacity(self) -> int:
        """A quarter of the machine's memory in bytes; encoders and decoded items need the rest."""
        return memory() // 4

    @contextmanager
    def holding(self, nbytes: int, seconds: float, source: str) -> Iterator[None]:
        """Hold `nbytes` while the block runs; InputError if no room comes free within half of `seconds`."""
        hold, seconds = object(), min(seconds, _LONGEST)
        with self._changed:
            if not self._wait_for_room(nbytes, seconds / 2):
                raise InputError(
                    f"decoding it takes about {nbytes} bytes, and others hold {self._bytes_held()} of "
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

    def _wait_for_room(self, nbytes: int, seconds: float) -> bool:
        """Wait until so many bytes fit in, for `seconds` at most; True if they do."""
        end = time.monotonic() + seconds
        while not self._fits(nbytes) and (left := end - time.monotonic()) > 0:
            # A hold that expires notifies nobody, so the wait ends at the next such time at the latest.
            next_end = min(until for _, until in self._holds.values()) - time.monotonic()
            self._changed.wait(min(left, max(0.001, next_end)))
        return self._fits(nbytes)

    def _fits(self, nbytes: int) -> bool:
        held = self._bytes_held()
        return not held or held + nbytes <= self.capacity

    def _bytes_held(self) -> int:
        now = time.monotonic()
        return sum(nbytes for nbytes, until in self._holds.values() if until > now)


def memory(limit_files: Sequence[str] = _CGROUP_LIMITS) -> int:
    """The memory of this machine in bytes, or that of its container (cgroup) where that is less."""
    found = [_UNKNOWN]
    with suppress(AttributeError, OSError, ValueError):  # Windows has no sysconf
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in limit_files:
        with suppress(OSError, ValueError), open(path) as file:
            found.append(int(file.read(64)))
    return min(found)


common_gate: Gate = Gate()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=common_gate.renew)
