"""Items drawn from their source into tasks, as many as may be under way."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from ..inputs.owning import is_fixed, own, size_in_bytes
from .deferring import Deferred
from .threads import Stragglers

T = TypeVar("T")
R = TypeVar("R")

# A task is as many items as take about this long: one for each short text would cost more than the text,
# and with many photographs in each the last would wait for one thread.
_TASK_SECONDS = 0.002
_TASK_ITEMS = 64
_END = object()


class Work(Protocol[R]):
    """The work that threads do with each item of a source."""

    def do(self, index: int, item: Any) -> R:
        """Make the result of an item; what this raises counts as `lose`."""
        ...

    def give_up(self, index: int, item: Any) -> R:
        """Make the result of an item that took longer than `Pace.seconds`."""
        ...

    def lose(self, index: int, item: Any) -> R:
        """Make the result of an item for which `do` raised after all, or that killed two threads."""
        ...

    def weigh(self, result: R, /) -> int:
        """Count the bytes that a result holds."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """The limits of work done in threads: how many there are, how far ahead, how long at one item.

    seconds     an item that takes longer is given up
    threads     the number of threads
    cores       the most cores that torch's operations in all of these take together
    ahead       the most items that are in work or wait for the consumer
    nbytes      about how many bytes these may hold
    chunk       where the source has no length, what is behind a multiple of so many items is drawn only when
                all before it is delivered: so that results can feed the source
    pause       the source may take so many seconds before what is drawn is worked on to its end
    stragglers  counts the threads that go on with what was given up
    """

    seconds: float
    threads: int
    ahead: int
    nbytes: int
    cores: int = 1
    chunk: int = sys.maxsize
    pause: float = math.inf
    stragglers: Stragglers = field(default_factory=Stragglers)


class Worker:
    """A thread at work for one call, until it is done with that."""

    done: threading.Event

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.done = threading.Event()

    @property
    def died(self) -> bool:
        """Whether the thread is gone although its work isn't done."""
        return self.thread is not None and not self.thread.is_alive() and not self.done.is_set()


class Task(Generic[T]):
    """A few consecutive items, their results so far, and since when the current one is in work."""

    begun: float
    seconds: float
    lock: threading.Lock
    finished: threading.Event

    def __init__(self, first: int, items: list[Any]) -> None:
        self.first = first
        self.items = items
        self.results: list[T] = []
        self.begun = 0.0
        self.seconds = 0.0
        self.lock = threading.Lock()
        self.worker: Worker | None = None
        self.given_up = False
        self.again = False  # whether a thread has died on the first item once
        self.deaths = 0  # those of threads after which it was put into the queue again
        self.finished = threading.Event()

    def take(self, worker: Worker) -> bool:
        """Begin the task in this thread, unless another one has: a task may stand in the queue twice."""
        with self.lock:
            if self.worker is not None:
                return False
            self.worker = worker
            return True


class Feed(Generic[T]):
    """Draws items into tasks, as many as may be under way."""

    paused: bool

    def __init__(self, items: Iterable[Any], work: Work[T], pace: Pace) -> None:
        self._fixed = is_fixed(items)
        self._chunk = sys.maxsize if hasattr(type(items), "__len__") else pace.chunk
        self._source: Deferred[Any] = Deferred(items)
        self._work, self._pace = work, pace
        self._index = 0
        self._under_way = 0
        self._alone = False  # the last item can't be copied: it must be done before the next one is drawn
        self._seconds = _TASK_SECONDS  # of one item, by the last task
        self._nbytes = 0.0  # of one item and its result, likewise; 0 until the first is known
        self._drawing = 0.0  # seconds that drawing took since the last pause
        self.paused = False

    def tasks(self) -> Iterator[Task[T]]:
        """Draw as many tasks as may be begun now; `paused` says that the source took too long over them."""
        self._drawing, self.paused = 0.0, False
        while not self._source.exhausted and self._under_way < self._most():
            chunk = self._draw(max(1, min(_TASK_ITEMS, int(_TASK_SECONDS / self._seconds))))
            if chunk:
                yield Task(self._index - len(chunk), chunk)
            if self._drawing > self._pace.pause:
                self.paused = True
                return

    def take(self, task: Task[T], results: list[T]) -> None:
        """Note that the consumer has the results of a task, and guess by them what the next one will take."""
        self._under_way -= len(results)
        self._seconds = max(1e-6, task.seconds / len(results)) if task.seconds else self._seconds
        held = sum(map(self._work.weigh, results)) + sum(map(size_in_bytes, task.items))
        self._nbytes = held / len(results)

    def _most(self) -> int:
        """The number of items that may be under way."""
        if self._alone or (self._index and self._index % self._chunk == 0):
            return 1  # the next one, and only when all before it is delivered
        least = 2 * self._pace.threads
        if not self._nbytes:
            return min(self._pace.ahead, least)
        return max(least, min(self._pace.ahead, int(self._pace.nbytes / self._nbytes)))

    def _draw(self, count: int) -> list[Any]:
        """Draw up to `count` items, fewer where drawing them takes its time."""
        drawn: list[Any] = []
        source, start = self._source, time.monotonic()
        self._alone, spent = False, 0.0
        try:
            while len(drawn) < count and spent < _TASK_SECONDS and not self._alone:
                item, owned = (next(source, _END), True) if self._fixed else own(next(source, _END))
                if item is _END:
                    break
                drawn.append(item)
                del item  # it would count as one more who holds it
                self._alone = not owned
                self._index += 1
                spent = time.monotonic() - start
                if self._index % self._chunk == 0:
                    break
        except Exception as cause:  # the item can't be copied
            source.fail(cause)
        self._drawing += time.monotonic() - start
        self._under_way += len(drawn)
        return drawn

    def reraise(self) -> None:
        """Raise what drawing an item raised, now that all items before it are delivered."""
        self._source.reraise()
