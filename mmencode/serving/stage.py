"""The items of one encoder, on their way from requests to batches: prepared by threads of their own."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from ..engine.blame import make_failure
from ..engine.call import Prepared
from ..engine.teams import take_at_most
from ..errors import InputError
from ..spaces.pipeline import Pipeline
from .turns import Ask, Item, Turns, require_no_path

_BIG = 2**20  # bytes of an item that may take long
_LONG = 0.03  # seconds; an item that takes longer doesn't hold up the others
_NICE = 5  # how far a thread at such an item lets others go first; little, since it may hold the interpreter
_ASIDE = 4  # threads for each core that may be at such items; they may take `Limits.memory` each
_LOST = 64  # threads that may go on with items that were given up
_AHEAD = 2  # windows of prepared items that may wait


class Worker:
    """A thread that prepares items; one that is put aside ends with the item that it is at."""

    begun: float

    def __init__(self) -> None:
        self.item: Item | None = None
        self.begun = 0.0
        self.aside = False
        self.native = 0
        self.thread: threading.Thread | None = None


class Stage:
    """The waiting and the prepared items of one encoder.

    All is done under the service's `lock`. Expensive items hold up no cheap ones: a thread that is at one for
    long is put aside, and another takes its place; items of many bytes take as many threads as there are
    cores. `on_ready` is called, under the lock, with an item that is prepared, or failed.
    """

    pipeline: Pipeline
    ready: Turns

    def __init__(self, pipeline: Pipeline, lock: threading.RLock, on_ready: Any, cores: int, wait: float):
        self.pipeline, self._on_ready, self._cores, self._wait = pipeline, on_ready, cores, wait
        self._small, self._big, self.ready = Turns(), Turns(), Turns()
        self._changed = threading.Condition(lock)
        self._workers: set[Worker] = set()
        self._lost: list[threading.Thread] = []  # at items that were given up
        self._idle = 0
        self._ended = False

    @property
    def waiting(self) -> int:
        """The number of items that aren't prepared yet, but for those in work."""
        return self._small.count + self._big.count

    def put(self, item: Item) -> None:
        """Put an item behind those that wait; a thread more where none is idle."""
        (self._big if item.nbytes > _BIG else self._small).put(item)
        self._call()

    def take(self) -> Item:
        """Take a prepared item for a batch."""
        item = self.ready.take()
        if self.waiting:
            self._changed.notify()
        return item

    def drop(self) -> Item:
        """Take any item that waits, prepared or not."""
        return next(turns for turns in (self.ready, self._small, self._big) if turns.count).take()

    def end(self) -> None:
        """Let the threads go."""
        self._ended = True
        self._changed.notify_all()

    def watch(self) -> None:
        """Put threads aside that are at an item for long, and give up items that take longer than allowed."""
        now = time.monotonic()
        for worker in list(self._workers):
            item, seconds = worker.item, now - worker.begun
            if item is None:
                continue
            if not worker.aside and seconds > _LONG:
                worker.aside = True
                _be_nice(worker.native)
            if seconds > self._wait:
                worker.item, worker.aside = None, True
                self._workers.discard(worker)
                if worker.thread is not None:
                    self._lost.append(worker.thread)
                self._finish(item, self.pipeline.give_up(None, item.source))
        if self.waiting:
            self._call()

    def _call(self) -> None:
        """Have an idle thread, or a new one, look for items."""
        if self._idle:
            self._changed.notify()
            return
        at_work = sum(not worker.aside for worker in self._workers)
        self._lost = [thread for thread in self._lost if thread.is_alive()]
        most = (1 + _ASIDE) * self._cores
        if at_work < self._cores and len(self._workers) < most and len(self._lost) < _LOST:
            worker = Worker()
            worker.thread = threading.Thread(
                target=self._work, args=(worker,), name="mmencode-prepare", daemon=True
            )
            self._workers.add(worker)
            worker.thread.start()

    def _next(self) -> Item | None:
        """The next item to prepare, unless as many as may be held are prepared already."""
        runtime = self.pipeline.runtime
        if self.ready.count >= _AHEAD * runtime.window_items or (
            self.ready.count and self.ready.nbytes >= _AHEAD * runtime.window_bytes
        ):
            return None
        big = sum(worker.item is not None and worker.item.nbytes > _BIG for worker in self._workers)
        if (
            self._big.count
            and big < self._cores
            and not (self._small.count and self._small.began < self._big.began)
        ):
            return self._big.take()
        return self._small.take() if self._small.count else None

    def _work(self, worker: Worker) -> None:
        take_at_most(1)
        worker.native = threading.get_native_id()
        while True:
            with self._changed:
                if worker.aside:
                    self._workers.discard(worker)
                item = None
                while not (worker.aside or self._ended) and (item := self._next()) is None:
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                if item is None:
                    return
                worker.item, worker.begun = item, time.monotonic()
                over = item.request.is_over()
                ask, item.ask = item.ask, None
                if self.waiting:
                    self._call()  # as one call may stand for many items
            prepared = None if over or ask is None else self._prepare(ask)
            del ask
            with self._changed:
                if worker.item is not None:
                    worker.item = None
                    self._finish(item, prepared)

    def _prepare(self, ask: Ask) -> Prepared:
        try:
            require_no_path(ask.modality, ask.item)
        except InputError as error:
            return Prepared(0, ask.source, error=error)
        except Exception:  # it isn't what its modality takes, which its reader tells
            pass
        try:
            return self.pipeline.prepare(ask.item, ask.source)
        except BaseException as cause:
            return Prepared(0, ask.source, error=make_failure("it can't be prepared", 0, ask.source, cause))

    def _finish(self, item: Item, prepared: Prepared | None) -> None:
        item.prepared = prepared
        self._on_ready(self, item)


def _be_nice(native: int) -> None:
    """Have a thread let others go first, where the system knows threads by themselves."""
    if sys.platform == "linux" and native:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, native, _NICE)
