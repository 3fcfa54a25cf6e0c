"""Work done in threads: results in order, a bounded number ahead, and no waiting for ever for one item."""

from __future__ import annotations

import math
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from ..errors import ClosedError, EncoderError
from ..inputs.owning import is_fixed, own, size_in_bytes
from .threads import Stragglers, threads

T = TypeVar("T")

# A task is as many items as take about this long: one for each short text would cost more than the text,
# and with many photographs in each the last would wait for one thread.
_TASK_SECONDS = 0.002
_TASK_ITEMS = 64
_FAREWELL = 1.0  # seconds that the end of a call waits for a thread in the middle of an item
_BEAT = 0.25  # seconds between two looks at a thread that is waited for
_GAP = 0.5  # seconds that count between two looks, however long the process was stopped
_ROOM = 5.0  # seconds that a call waits when too many threads are at work on what was given up
_END = object()


@dataclass(frozen=True, kw_only=True, slots=True)
class Work(Generic[T]):
    """What threads do with each item, and how far they may go.

    do          makes the result of `(index, item)`; it must not raise
    late        makes the result of an item that took longer than `seconds`
    size        how many bytes a result holds
    threads     how many there are
    ahead       the most items that are in work or wait for the consumer
    nbytes      about how many bytes these may hold
    lost        makes the result of an item for which `do` raised after all, or that killed two threads;
                by default `late` does
    chunk       where the source has no length, what is behind a multiple of so many items is drawn only when
                all before it is delivered: so that results can feed the source
    pause       the source may take so many seconds before what is drawn is worked on to its end
    stragglers  who counts the threads that go on with what was given up
    """

    do: Callable[[int, Any], T]
    late: Callable[[int, Any], T]
    size: Callable[[T], int]
    seconds: float
    threads: int
    ahead: int
    nbytes: int
    lost: Callable[[int, Any], T] | None = None
    chunk: int = sys.maxsize
    pause: float = math.inf
    stragglers: Stragglers = field(default_factory=Stragglers)


def in_order(items: Iterable[Any], work: Work[T]) -> Generator[T, None, None]:
    """The result of every item, in input order.

    Items are drawn by the consumer's own thread, which may be the only one that can. What drawing one raises
    is raised after the results of all items before it. The threads end with the iteration.
    """
    results = with_pauses(items, work)
    with closing(results):
        yield from (result for result in results if result is not None)


def with_pauses(items: Iterable[Any], work: Work[T]) -> Generator[T | None, None, None]:
    """The same, and None where the source lets us wait for the next item."""
    feed, crew = _Feed(items, work), _Crew(work)
    waiting: deque[_Task[T]] = deque()
    try:
        while True:
            for task in feed.tasks():
                waiting.append(task)
                crew.add(task)
            if not waiting:
                break
            while waiting:
                task = waiting.popleft()
                results = crew.finish(task)
                feed.taken(task, results)
                yield from results
                if not feed.paused:
                    break
            if feed.paused:
                yield None
    finally:
        crew.dismiss()
    if feed.failure is not None:
        raise feed.failure


class _Task(Generic[T]):
    """A few consecutive items, their results so far, and since when the current one is in work."""

    def __init__(self, first: int, items: list[Any]) -> None:
        self.first = first
        self.items = items
        self.results: list[T] = []
        self.begun = 0.0
        self.seconds = 0.0
        self.lock = threading.Lock()
        self.hand: _Hand | None = None
        self.given_up = False
        self.again = False  # whether a thread has died on the first item once
        self.finished = threading.Event()


class _Feed(Generic[T]):
    """Draws items into tasks, as many as may be under way."""

    def __init__(self, items: Iterable[Any], work: Work[T]) -> None:
        self._fixed = is_fixed(items)
        self._chunk = sys.maxsize if hasattr(type(items), "__len__") else work.chunk
        self._source: Iterator[Any] | None = iter(items)
        self._work = work
        self._index = 0
        self._under_way = 0
        self._alone = False  # the last item can't be copied: it must be done before the next one is drawn
        self._seconds = _TASK_SECONDS  # of one item, by the last task
        self._nbytes = 0.0  # of one item and its result, likewise; 0 until the first is known
        self._drawing = 0.0  # seconds that drawing took since the last pause
        self.paused = False
        self.failure: Exception | None = None

    def tasks(self) -> Iterator[_Task[T]]:
        """As many as may be begun now; `paused` when the source took too long over them."""
        self._drawing, self.paused = 0.0, False
        while self._source is not None and self._under_way < self._allowed():
            chunk = self._draw(max(1, min(_TASK_ITEMS, int(_TASK_SECONDS / self._seconds))))
            if chunk:
                yield _Task(self._index - len(chunk), chunk)
            if self._drawing > self._work.pause:
                self.paused = True
                return

    def taken(self, task: _Task[T], results: list[T]) -> None:
        """The consumer has these results now; what they took is a guess at what the next ones will."""
        self._under_way -= len(results)
        self._seconds = max(1e-6, task.seconds / len(results)) if task.seconds else self._seconds
        held = sum(map(self._work.size, results)) + sum(map(size_in_bytes, task.items))
        self._nbytes = held / len(results)

    def _allowed(self) -> int:
        """How many items may be under way."""
        if self._alone or (self._index and self._index % self._chunk == 0):
            return 1  # the next one, and only when all before it is delivered
        least = 2 * self._work.threads
        if not self._nbytes:
            return min(self._work.ahead, least)
        return max(least, min(self._work.ahead, int(self._work.nbytes / self._nbytes)))

    def _draw(self, count: int) -> list[Any]:
        """Up to so many items, fewer where drawing them takes its time."""
        drawn: list[Any] = []
        source, start = self._source, time.monotonic()
        assert source is not None
        self._alone, spent = False, 0.0
        try:
            while len(drawn) < count and spent < _TASK_SECONDS and not self._alone:
                item, owned = (next(source, _END), True) if self._fixed else own(next(source, _END))
                if item is _END:
                    self._source = None
                    break
                drawn.append(item)
                del item  # it would count as one more who holds it
                self._alone = not owned
                self._index += 1
                spent = time.monotonic() - start
                if self._index % self._chunk == 0:
                    break
        except Exception as cause:  # the caller's own error, raised when all before it is delivered
            self._source, self.failure = None, cause
        self._drawing += time.monotonic() - start
        self._under_way += len(drawn)
        return drawn


class _Hand:
    """A thread at work for one call, until it is done with that."""

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.done = threading.Event()

    @property
    def died(self) -> bool:
        """Whether its thread is gone though its work isn't done."""
        return self.thread is not None and not self.thread.is_alive() and not self.done.is_set()


class _Crew(Generic[T]):
    """The threads at work for one call."""

    def __init__(self, work: Work[T]) -> None:
        self._work = work
        self._process = os.getpid()
        self._clock = _Clock()
        self._tasks: queue.SimpleQueue[_Task[T] | None] = queue.SimpleQueue()
        self._hands: list[_Hand] = []
        self._dismissed = False
        self._lost = work.lost or work.late
        threads.lend(self)

    def add(self, task: _Task[T]) -> None:
        """Put a task into the queue; a thread more where there aren't all yet."""
        self._tasks.put(task)
        if len(self._hands) < self._work.threads:
            self._start(None)

    def finish(self, task: _Task[T]) -> list[T]:
        """Wait for a task's results; an item that hangs, or kills its thread, is given up.

        A new thread does the others. EncoderError where too many threads hang.
        """
        self._require_own_process()
        results: list[T] = []
        while not task.finished.wait(min(_BEAT, self._patience(task))):
            self._replace_the_dead(task)
            rest = self._give_up(task)
            if rest is not None:
                results += task.results
                task = rest
        return results + task.results

    def dismiss(self) -> None:
        """Let the threads go: those that work after their item, the others at once."""
        self.let_go()
        if os.getpid() == self._process:
            deadline = time.monotonic() + _FAREWELL
            for hand in self._hands:
                hand.done.wait(max(0.0, deadline - time.monotonic()))

    def let_go(self) -> None:
        """The same without waiting for those that work."""
        self._dismissed = True
        for _ in self._hands:
            self._tasks.put(None)

    def _require_own_process(self) -> None:
        if os.getpid() != self._process:
            raise ClosedError(
                f"a stream that process {self._process} began can't go on in process {os.getpid()}: it was "
                "forked off and has none of its threads",
                remedy="begin a stream in each process",
            )

    def _patience(self, task: _Task[T]) -> float:
        """The seconds that the item in work still has; one that isn't begun has all of them."""
        begun = task.begun
        if not begun:
            return self._work.seconds
        now = self._clock.now()
        if begun > now:  # it was begun in a stop that wasn't seen yet, or while the consumer was elsewhere
            begun = task.begun = now
        return max(0.0, begun + self._work.seconds - now)

    def _give_up(self, task: _Task[T]) -> _Task[T] | None:
        """A task for the items behind the one that hangs; None when it was just done after all."""
        if not self._is_stuck(task):
            return None
        if not self._work.stragglers.has_room(min(_ROOM, self._work.seconds)):
            raise _too_many_hang(self._work)
        with task.lock:
            if not self._is_stuck(task):
                return None
            task.given_up = True
        hand, place = task.hand, len(task.results)
        assert hand is not None  # without one it wouldn't be begun
        self._hands.remove(hand)
        if hand.died and not (task.again and place == 0):
            rest: _Task[T] = _Task(task.first + place, task.items[place:])
            rest.again = True
        else:
            instead = self._lost if hand.died else self._work.late
            task.results.append(instead(task.first + place, task.items[place]))
            rest = _Task(task.first + place + 1, task.items[place + 1 :])
        if hand.thread is not None and not hand.died:
            threads.abandon(hand.thread)
            self._work.stragglers.add(hand.thread)
        self._start(rest)
        return rest

    def _is_stuck(self, task: _Task[T]) -> bool:
        if len(task.results) == len(task.items):
            return False
        died = task.hand is not None and task.hand.died
        return died or (task.begun > 0 and self._patience(task) <= 0)

    def _replace_the_dead(self, task: _Task[T]) -> None:
        """Where threads died before they took a task, others take what is in the queue."""
        dead = [hand for hand in self._hands if hand.died and hand is not task.hand]
        for hand in dead:
            self._hands.remove(hand)
            self._start(None)

    def _start(self, task: _Task[T] | None) -> None:
        hand = _Hand()
        try:
            hand.thread = threads.run(partial(self._run, task, hand))
        except RuntimeError as cause:  # there are as many threads as the system allows
            if not self._hands or task is not None:
                raise _no_thread(cause) from cause
            return
        self._hands.append(hand)

    def _run(self, task: _Task[T] | None, hand: _Hand) -> bool:
        """Do this task and then others; False when the thread isn't fit for more, since it was given up."""
        while (task := task or self._tasks.get()) is not None:
            task.hand = hand
            self._do(task)
            if self._dismissed or task.given_up:
                break
            task = None
        hand.done.set()  # not where something was raised: then the thread dies, which is noticed
        return task is None or not task.given_up

    def _do(self, task: _Task[T]) -> None:
        """Do a task to its end, unless it is given up, or all are dismissed, meanwhile."""
        start = time.monotonic()
        for place, item in enumerate(task.items):
            task.begun = self._clock.at_work()
            try:
                result = self._work.do(task.first + place, item)
            except BaseException:  # whatever it is, the thread has other items to do
                result = self._lost(task.first + place, item)
            with task.lock:
                if task.given_up or self._dismissed:
                    return
                task.results.append(result)
        task.seconds = time.monotonic() - start
        task.finished.set()


class _Clock:
    """Counts the seconds that this process runs: not those for which it is stopped, or the machine sleeps.

    Between two looks of the thread that waits no more than `_GAP` count; it looks every `_BEAT`.
    """

    def __init__(self) -> None:
        self._start = self._looked = time.monotonic()
        self._stopped = 0.0

    def now(self) -> float:
        """The seconds so far, by the thread that waits."""
        looked = time.monotonic()
        self._stopped += max(0.0, looked - self._looked - _GAP)
        self._looked = looked
        return self.at_work()

    def at_work(self) -> float:
        """The same by a thread that works: what it didn't see of a stop counts in its favour; above 0."""
        return 1.0 + time.monotonic() - self._start - self._stopped


def _too_many_hang(work: Work[Any]) -> EncoderError:
    return EncoderError(
        f"{work.stragglers.count()} items were given up after {work.seconds:g} s each, and their threads are "
        "still at work on them",
        remedy="look at what they are read from: a disk, a share or a pipe that doesn't answer; "
        "if it is only slow, raise Limits.wait",
    )


def _no_thread(cause: RuntimeError) -> EncoderError:
    return EncoderError(
        f"this process can't start a thread to read with: {cause}",
        remedy="raise the limit on its threads (ulimit -u), or end some of them",
    )
