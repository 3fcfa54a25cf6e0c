"""Windows on several devices, or several streams of one: each to whoever is free, the results in order."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ..isolation.fence import OURS
from .job import Window

T = TypeVar("T")


def shared(tasks: Iterable[Window], hands: Sequence[Callable[[Window], T]]) -> Generator[T, None, None]:
    """What a free hand makes of each task, in order; a single hand works in this thread, others in their own.

    What drawing a task raises is raised after the results of all before it. All is delivered that goes up to
    a window that ends, before another one is asked for.
    """
    if len(hands) == 1:
        yield from map(hands[0], tasks)
        return
    free: queue.SimpleQueue[Callable[[Window], T]] = queue.SimpleQueue()
    for hand in hands:
        free.put(hand)

    def work(task: Window) -> T:
        hand = free.get()
        try:
            return hand(task)
        finally:
            free.put(hand)

    waiting: deque[Future[T]] = deque()
    failure: Exception | None = None
    with ThreadPoolExecutor(len(hands), OURS) as pool:
        try:
            source = iter(tasks)
            while failure is None:
                ends = False
                try:
                    task = next(source)
                    waiting.append(pool.submit(work, task))
                    ends = task.ends
                except StopIteration:
                    break
                except Exception as cause:
                    failure = cause
                while waiting and (ends or len(waiting) >= len(hands)):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
    if failure is not None:
        raise failure
