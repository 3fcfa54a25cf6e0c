"""Work done in threads: results in order, a bounded number ahead, and no waiting for ever for one item."""

from __future__ import annotations

import os
import queue
import time
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import closing
from functools import partial
from typing import Any, Generic, TypeVar

import torch

from ..errors import ClosedError, EncoderError
from .feeding import Feed, Pace, Task, Work, Worker
from .teams import take_at_most
from .threads import threads

T = TypeVar("T")

_FAREWELL = 1.0  # seconds that the end of a call waits for a thread in the middle of an item
_BEAT = 0.25  # seconds between two looks at a thread that is waited for
_GAP = 0.5  # seconds that count between two looks, however long the process was stopped
ROOM = 5.0  # seconds that a call waits when too many threads are at work on what was given up


def in_order(items: Iterable[Any], work: Work[T], pace: Pace) -> Generator[T, None, None]:
    """Yield the result of every item, in input order.

    Items are drawn by the consumer's own thread, which may be the only one that can. What drawing one raises
    is raised after the results of all items before it. The threads end with the iteration.
    """
    results = with_pauses(items, work, pace)
    with closing(results):
        yield from (result for result in results if result is not None)


def with_pauses(items: Iterable[Any], work: Work[T], pace: Pace) -> Generator[T | None, None, None]:
    """Yield the result of every item, in input order, and None where the source keeps us waiting."""
    feed, crew = Feed(items, work, pace), Crew(work, pace)
    waiting: deque[Task[T]] = deque()
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
                feed.take(task, results)
                yield from results
                if not feed.paused:
                    break
            if feed.paused:
                yield None
    finally:
        crew.dismiss()
    feed.reraise()


class Crew(Generic[T]):
    """The threads at work for one call."""

    def __init__(self, work: Work[T], pace: Pace) -> None:
        self._work, self._pace = work, pace
        self._process = os.getpid()
        self._clock = _Clock()
        self._tasks: queue.SimpleQueue[Task[T] | None] = queue.SimpleQueue()
        self._workers: list[Worker] = []
        self._deaths = 0
        self._dismissed = False
        self._cores = min(pace.cores, torch.get_num_threads())  # as many as this thread, the caller's, has
        threads.lend(self)

    def add(self, task: Task[T]) -> None:
        """Put a task into the queue; a thread more where there aren't all yet."""
        self._tasks.put(task)
        if len(self._workers) < self._pace.threads:
            self._start(None)

    def finish(self, task: Task[T]) -> list[T]:
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
            for worker in self._workers:
                worker.done.wait(max(0.0, deadline - time.monotonic()))

    def let_go(self) -> None:
        """Let the threads go without waiting for those in the middle of an item."""
        self._dismissed = True
        for _ in self._workers:
            self._tasks.put(None)

    def _require_own_process(self) -> None:
        if os.getpid() != self._process:
            raise ClosedError(
                f"a stream that process {self._process} began can't go on in process {os.getpid()}: it was "
                "forked off and has none of its threads",
                remedy="begin a stream in each process",
            )

    def _patience(self, task: Task[T]) -> float:
        """The seconds that the item in work still has; one that isn't begun has all of them."""
        begun = task.begun
        if not begun:
            return self._pace.seconds
        now = self._clock.now()
        if begun > now:  # it was begun in a stop that wasn't seen yet, or while the consumer was elsewhere
            begun = task.begun = now
        return max(0.0, begun + self._pace.seconds - now)

    def _give_up(self, task: Task[T]) -> Task[T] | None:
        """A task for the items behind the one that hangs; None when it was just done after all."""
        if not self._is_stuck(task):
            return None
        if not self._pace.stragglers.has_room(min(ROOM, self._pace.seconds)):
            raise _too_many_hang(self._pace)
        with task.lock:
            if not self._is_stuck(task):
                return None
            task.given_up = True
        worker, place = task.worker, len(task.results)
        assert worker is not None  # without one it wouldn't be begun
        self._workers.remove(worker)
        if worker.died and not (task.again and place == 0):
            rest: Task[T] = Task(task.first + place, task.items[place:])
            rest.again = True
        else:
            instead = self._work.lose if worker.died else self._work.give_up
            task.results.append(instead(task.first + place, task.items[place]))
            rest = Task(task.first + place + 1, task.items[place + 1 :])
        if worker.thread is not None and not worker.died:
            threads.abandon(worker.thread)
            self._pace.stragglers.add(worker.thread)
        self._start(rest)
        return rest

    def _is_stuck(self, task: Task[T]) -> bool:
        if len(task.results) == len(task.items):
            return False
        died = task.worker is not None and task.worker.died
        return died or (task.begun > 0 and self._patience(task) <= 0)

    def _replace_the_dead(self, task: Task[T]) -> None:
        """Start threads in the place of those that died outside this task.

        One that was killed while it waited has lost what it was given next, which may be this task.
        """
        dead = [worker for worker in self._workers if worker.died and worker is not task.worker]
        for worker in dead:
            self._workers.remove(worker)
            self._deaths += 1
            self._start(None)
        if task.worker is None and task.deaths < self._deaths:
            task.deaths = self._deaths
            self._tasks.put(task)

    def _start(self, task: Task[T] | None) -> None:
        worker = Worker()
        try:
            worker.thread = threads.run(partial(self._run, task, worker))
        except RuntimeError as cause:  # there are as many threads as the system allows
            if not self._workers or task is not None:
                raise _no_thread(cause) from cause
            return
        self._workers.append(worker)

    def _run(self, task: Task[T] | None, worker: Worker) -> bool:
        """Do this task and then others; False when the thread isn't fit for more, since it was given up."""
        while (task := task or self._tasks.get()) is not None:
            if task.take(worker):
                self._do(task)
                if self._dismissed or task.given_up:
                    break
            task = None
        worker.done.set()  # not where something was raised: then the thread dies, which is noticed
        return task is None or not task.given_up

    def _do(self, task: Task[T]) -> None:
        """Do a task to its end, unless it is given up, or all are dismissed, meanwhile."""
        start = time.monotonic()
        take_at_most(max(1, self._cores // max(1, len(self._workers))))
        for place, item in enumerate(task.items):
            task.begun = self._clock.at_work()
            try:
                result = self._work.do(task.first + place, item)
            except BaseException:  # whatever it is, the thread has other items to do
                result = self._work.lose(task.first + place, item)
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
        """Read the clock in the thread that waits, in seconds."""
        looked = time.monotonic()
        self._stopped += max(0.0, looked - self._looked - _GAP)
        self._looked = looked
        return self.at_work()

    def at_work(self) -> float:
        """Read the clock in a thread that works, above 0; a stop not seen yet counts in its favour."""
        return 1.0 + time.monotonic() - self._start - self._stopped


def _too_many_hang(pace: Pace) -> EncoderError:
    return EncoderError(
        f"{pace.stragglers.count()} items were given up after {pace.seconds:g} s each, and their threads are "
        "still at work on them",
        remedy="look at what they are read from: a disk, a share or a pipe that doesn't answer; "
        "if it is only slow, raise Limits.wait",
    )


def _no_thread(cause: RuntimeError) -> EncoderError:
    return EncoderError(
        f"this process can't start a thread to read with: {cause}",
        remedy="raise the limit on its threads (ulimit -u), or end some of them",
    )
