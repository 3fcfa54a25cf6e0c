"""Work done in threads: results in order, a bounded number ahead, and no waiting for ever for one item."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

S = TypeVar("S")
T = TypeVar("T")

# A task is as many items as take about this long: one for each short text would cost more than the text,
# and with many photographs in each the last would wait for one thread.
_TASK_SECONDS = 0.002
_TASK_ITEMS = 64
_FAREWELL = 1.0  # seconds that the end of a call waits for a thread in the middle of an item
_LINGER = 1.0  # seconds that a thread waits for another call


@dataclass(frozen=True, kw_only=True, slots=True)
class Work(Generic[T]):
    """What threads do with each item, and how far they may go.

    do       makes the result of `(index, item)`; it must not raise
    late     makes the result of an item that took longer than `seconds`
    size     how many bytes a result holds
    threads  how many there are
    ahead    the most items that are in work or wait for the consumer
    nbytes   about how many bytes these may hold
    """

    do: Callable[[int, Any], T]
    late: Callable[[int, Any], T]
    size: Callable[[T], int]
    seconds: float
    threads: int
    ahead: int
    nbytes: int


def in_order(items: Iterable[Any], work: Work[T]) -> Generator[T, None, None]:
    """The result of every item, in input order; the threads end with the iteration.

    Items are drawn by the consumer's own thread. What drawing one raises is raised after the results of all
    items before it.
    """
    feed, crew = _Feed(items, work), _Crew(work)
    waiting: deque[_Task[T]] = deque()
    try:
        while True:
            while (task := feed.next_task()) is not None:
                waiting.append(task)
                crew.add(task)
            if not waiting:
                break
            task = waiting.popleft()
            results = crew.finish(task)
            feed.taken(task, results)
            yield from results
    finally:
        crew.dismiss()
    if feed.failure is not None:
        raise feed.failure


def shared(tasks: Iterable[S], hands: Sequence[Callable[[S], T]]) -> Generator[T, None, None]:
    """What a free hand makes of each task, in order; a single hand works in this thread, others in their own.

    What drawing a task raises is raised after the results of all before it.
    """
    if len(hands) == 1:
        yield from map(hands[0], tasks)
        return
    free: queue.SimpleQueue[Callable[[S], T]] = queue.SimpleQueue()
    for hand in hands:
        free.put(hand)

    def work(task: S) -> T:
        hand = free.get()
        try:
            return hand(task)
        finally:
            free.put(hand)

    waiting: deque[Future[T]] = deque()
    failure: Exception | None = None
    with ThreadPoolExecutor(len(hands), "mmencode") as pool:
        try:
            source = iter(tasks)
            while failure is None:
                try:
                    waiting.append(pool.submit(work, next(source)))
                except StopIteration:
                    break
                except Exception as cause:
                    failure = cause
                if len(waiting) >= len(hands):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
    if failure is not None:
        raise failure


class _Task(Generic[T]):
    """A few consecutive items, their results so far, and since when the current one is in work."""

    def __init__(self, first: int, items: list[Any]) -> None:
        self.first = first
        self.items = items
        self.results: list[T] = []
        self.begun = 0.0
        self.seconds = 0.0
        self.lock = threading.Lock()
        self.hand: threading.Event | None = None
        self.given_up = False
        self.finished = threading.Event()


class _Feed(Generic[T]):
    """Draws items into tasks, as many as may be under way."""

    def __init__(self, items: Iterable[Any], work: Work[T]) -> None:
        self._source: Iterator[Any] | None = iter(items)
        self._work = work
        self._index = 0
        self._under_way = 0
        self._seconds = _TASK_SECONDS  # of one item, by the last task
        self._nbytes = 0.0  # of one item and its result, likewise; 0 until the first is known
        self.failure: Exception | None = None

    def next_task(self) -> _Task[T] | None:
        """None when enough is under way, or nothing is left."""
        if self._source is None or self._under_way >= self._allowed():
            return None
        chunk = list(self._draw(max(1, min(_TASK_ITEMS, int(_TASK_SECONDS / self._seconds)))))
        task: _Task[T] = _Task(self._index, chunk)
        self._index += len(chunk)
        self._under_way += len(chunk)
        return task if chunk else None

    def taken(self, task: _Task[T], results: list[T]) -> None:
        """The consumer has these results now; what they took is a guess at what the next ones will."""
        self._under_way -= len(results)
        self._seconds = max(1e-6, task.seconds / len(results)) if task.seconds else self._seconds
        held = sum(map(self._work.size, results)) + sum(map(_nbytes, task.items))
        self._nbytes = held / len(results)

    def _allowed(self) -> int:
        least = 2 * self._work.threads
        if not self._nbytes:
            return min(self._work.ahead, least)
        return max(least, min(self._work.ahead, int(self._work.nbytes / self._nbytes)))

    def _draw(self, count: int) -> Iterator[Any]:
        try:
            while count and self._source is not None:
                yield next(self._source)
                count -= 1
        except StopIteration:
            self._source = None
        except Exception as cause:  # the caller's own error, raised when all before it is delivered
            self._source, self.failure = None, cause


class _Crew(Generic[T]):
    """The threads at work for one call, each known by the event that tells when it is done with that."""

    def __init__(self, work: Work[T]) -> None:
        self._work = work
        self._tasks: queue.SimpleQueue[_Task[T] | None] = queue.SimpleQueue()
        self._hands: list[threading.Event] = []
        self._dismissed = False

    def add(self, task: _Task[T]) -> None:
        """Put a task into the queue; a thread more where there aren't all yet."""
        self._tasks.put(task)
        if len(self._hands) < self._work.threads:
            self._start(None)

    def finish(self, task: _Task[T]) -> list[T]:
        """Wait for a task's results; an item that hangs is given up, and a new thread does the others."""
        results: list[T] = []
        while not task.finished.wait(self._patience(task)):
            rest = self._give_up(task)
            if rest is not None:
                results += task.results
                task = rest
        return results + task.results

    def dismiss(self) -> None:
        """Let the threads go: those that work after their item, the others at once."""
        self._dismissed = True
        for _ in self._hands:
            self._tasks.put(None)
        deadline = time.monotonic() + _FAREWELL
        for hand in self._hands:
            hand.wait(max(0.0, deadline - time.monotonic()))

    def _patience(self, task: _Task[T]) -> float:
        begun = task.begun
        return max(0.0, begun + self._work.seconds - time.monotonic()) if begun else self._work.seconds

    def _give_up(self, task: _Task[T]) -> _Task[T] | None:
        """A task for the items behind the one that hangs; None when it was just done after all."""
        with task.lock:
            place = len(task.results)
            if place == len(task.items) or self._patience(task) > 0:
                return None
            task.given_up = True
            if task.hand is not None:
                self._hands.remove(task.hand)
            task.results.append(self._work.late(task.first + place, task.items[place]))
        rest: _Task[T] = _Task(task.first + place + 1, task.items[place + 1 :])
        self._start(rest)
        return rest

    def _start(self, task: _Task[T] | None) -> None:
        hand = threading.Event()
        self._hands.append(hand)
        _threads.run(partial(self._run, task, hand))

    def _run(self, task: _Task[T] | None, hand: threading.Event) -> None:
        try:
            while (task := task or self._tasks.get()) is not None:
                task.hand = hand
                self._do(task)
                if self._dismissed or task.given_up:
                    return
                task = None
        finally:
            hand.set()

    def _do(self, task: _Task[T]) -> None:
        """Do a task to its end, unless it is given up, or all are dismissed, meanwhile."""
        start = task.begun = time.monotonic()
        for place, item in enumerate(task.items):
            task.begun = time.monotonic()
            result = self._work.do(task.first + place, item)
            with task.lock:
                if task.given_up or self._dismissed:
                    return
                task.results.append(result)
        task.seconds = time.monotonic() - start
        task.finished.set()


class _Threads:
    """Threads that wait a moment for more before they end: to start one takes longer than a short text.

    They are daemons, so that one which hangs doesn't keep the interpreter from ending.
    """

    def __init__(self) -> None:
        self._idle: list[queue.SimpleQueue[Callable[[], None]]] = []
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._idle.clear)  # threads don't come along

    def run(self, work: Callable[[], None]) -> None:
        """Have one of them do it, an idle one where there is one."""
        try:
            inbox = self._idle.pop()
        except IndexError:
            inbox = queue.SimpleQueue()
            threading.Thread(target=self._live, args=(inbox,), name="mmencode", daemon=True).start()
        inbox.put(work)

    def _live(self, inbox: queue.SimpleQueue[Callable[[], None]]) -> None:
        while (work := self._next(inbox)) is not None:
            work()
            del work  # and with it all that it refers to
            self._idle.append(inbox)

    def _next(self, inbox: queue.SimpleQueue[Callable[[], None]]) -> Callable[[], None] | None:
        try:
            return inbox.get(timeout=_LINGER)
        except queue.Empty:
            try:
                self._idle.remove(inbox)
            except ValueError:  # taken in this very moment: its work is on its way
                return inbox.get()
            return None


_threads = _Threads()


def _nbytes(item: Any) -> int:
    """What an item holds before it is read, where that is plain to see."""
    held = len(item) if isinstance(item, (bytes, bytearray)) else getattr(item, "nbytes", 0)
    return held if isinstance(held, int) else 0
