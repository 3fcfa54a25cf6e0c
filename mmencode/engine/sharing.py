"""Several lanes that share one call: each window to whichever is free, the results in order."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from ..isolation.fence import OURS
from .call import Part, Window
from .deferring import Deferred
from .lane import Lane

Rows = TypeVar("Rows")


class SharedLanes(Generic[Rows]):
    """Lanes on several devices or streams, in a thread for each."""

    def __init__(self, lanes: Sequence[Lane[Rows, Any]]) -> None:
        self._count = len(lanes)
        self._free: queue.SimpleQueue[Lane[Rows, Any]] = queue.SimpleQueue()
        for lane in lanes:
            self._free.put(lane)

    def run(self, windows: Iterable[Window]) -> Generator[Part[Rows], None, None]:
        """Compute windows, several at a time, and give their parts in order.

        What drawing a window raises is raised after the parts of all before it. Everything up to a window
        that ends is delivered before another one is asked for.
        """
        waiting: deque[Future[Part[Rows]]] = deque()
        source = Deferred(windows)
        with ThreadPoolExecutor(self._count, OURS) as pool:
            try:
                for window in source:
                    waiting.append(pool.submit(self._compute, window))
                    while waiting and (window.ends or len(waiting) >= self._count):
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
        source.reraise()

    def _compute(self, window: Window) -> Part[Rows]:
        lane = self._free.get()
        try:
            return lane.compute(window)
        finally:
            self._free.put(lane)
