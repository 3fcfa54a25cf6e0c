"""The queue of a service: items of all clients are prepared, share batches, and go back to their requests."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress

import numpy as np

from ..embeddings.array_types import Vectors
from ..engine.memory import trim
from ..engine.teams import take_at_most
from ..errors import DeviceError, InputError
from ..plugins.spec import modality_of_key
from ..spaces.pipeline import Pipeline
from .counts import Counts
from .refusals import BatchError, StoppedError
from .stage import Stage
from .turns import Answer, Ask, Held, Item, Request

_log = logging.getLogger("mmencode.serving")
_RECENT = 10.0  # seconds over which the rate is taken
_TRIM = 15.0  # seconds after which memory that batches have freed goes back to the system


class Queue:
    """The items that wait, the threads that prepare them, and those that compute, one for each lane.

    A batch is what is ready when a thread is free: nothing waits for more to come, but the items of a request
    for each other, as far as they share a batch. The modality whose oldest
    item came first has its turn. What raises in a batch fails the requests in it, and the threads go on.
    """

    counts: Counts
    items: int
    nbytes: int
    is_broken: bool

    def __init__(self, loop: asyncio.AbstractEventLoop, cores: int, torch_threads: int, wait: float) -> None:
        self.counts = Counts()
        self.items = self.nbytes = 0  # of all requests, whatever state they are in
        self.is_broken = False
        self._loop, self._cores, self._torch_threads, self._wait = loop, cores, torch_threads, wait
        self._lock = threading.RLock()
        self._ready = threading.Condition(self._lock)
        self._stages: dict[str, Stage] = {}
        self._jobs: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self._threads: list[threading.Thread] = []
        self._busy: dict[int, float] = {}  # since when a thread is at a batch
        self._done: deque[tuple[float, int]] = deque(maxlen=256)
        self._ended = False
        self._trimmed = time.monotonic()

    def open(self, pipeline: Pipeline) -> None:
        """Take items of a pipeline from now on, once its encoder was warmed in a thread that computes."""
        with self._lock:
            if self._ended:
                raise _refuse()
            while len(self._threads) < pipeline.lanes:
                thread = threading.Thread(target=self._compute, name="mmencode-compute", daemon=True)
                self._threads.append(thread)
                thread.start()
            warmed: Future[None] = Future()
            self._jobs.append((pipeline.warm, warmed))
            self._ready.notify()
        warmed.result()
        with self._lock:
            self._stages[pipeline.key] = Stage(
                pipeline, self._lock, self._take_ready, self._cores, self._wait
            )

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the encoders whose items are taken."""
        return tuple(self._stages)

    def put(self, request: Request, asks: Sequence[Ask], keys: Sequence[str], sizes: Sequence[int]) -> None:
        """Put the items of a request into the queue, all of them or, where the service has ended, none."""
        with self._lock:
            if self._ended:
                raise _refuse()
            self.items += len(asks)
            self.nbytes += sum(sizes)
            for place, (ask, key, size) in enumerate(zip(asks, keys, sizes, strict=True)):
                request.held.setdefault(key, Held()).left += 1
                source = ask.source or f"an item of modality {ask.modality!r}"
                self._stages[key].put(Item(request, place, ask, source, key, size))

    def watch(self) -> None:
        """Have no item hold up the others; to be called every few hundredths of a second."""
        with self._lock:
            for stage in self._stages.values():
                stage.watch()

    def seconds_in_batch(self) -> float:
        """Tell for how many seconds a thread has been at one batch; infinite where one has died."""
        if any(not thread.is_alive() for thread in self._threads) and not self._ended:
            return float("inf")
        return max((time.monotonic() - began for began in list(self._busy.values())), default=0.0)

    def lengths(self) -> dict[str, int]:
        """Count the items that aren't in a batch yet, by modality."""
        found: dict[str, int] = {}
        with self._lock:
            for key, stage in self._stages.items():
                modality = modality_of_key(key)
                found[modality] = found.get(modality, 0) + stage.waiting + stage.ready.count
        return found

    def seconds_ahead(self) -> float:
        """Estimate the seconds until half of what waits now is done, by the last ones; 1 to 60."""
        done = [(when, count) for when, count in list(self._done) if when > time.monotonic() - _RECENT]
        rate = sum(count for _, count in done) / _RECENT
        return min(60.0, max(1.0, self.items / 2 / rate)) if rate else 1.0

    def end(self, seconds: float) -> None:
        """Let all threads end, each with what it is at; what waits is refused. One that hangs is left."""
        with self._lock:
            self._ended = True
            for stage in self._stages.values():
                stage.end()
                while stage.waiting or stage.ready.count:
                    item = stage.drop()
                    item.request.refuse(_refuse())
                    self._answer([(item, None, None)])
            self._ready.notify_all()
        deadline = time.monotonic() + max(1.0, seconds)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _take_ready(self, stage: Stage, item: Item) -> None:
        """Take an item that was prepared, that failed, or whose request is over; under the lock."""
        prepared, held = item.prepared, item.request.held[item.key]
        held.left -= 1
        if prepared is None or prepared.error is not None:
            self._answer([(item, None, prepared.error if prepared is not None else None)])
        else:
            self.nbytes += prepared.nbytes - item.nbytes
            item.nbytes = prepared.nbytes
            held.items.append(item)
            held.gathering = held.gathering or stage.pipeline.gather()
            held.gathering.add(prepared)
        if not held.left or (held.gathering is not None and held.gathering.fills_batches()):
            for each in sorted(held.items, key=lambda each: each.place):
                stage.ready.put(each)
            held.items, held.gathering = [], None
            self._ready.notify()

    def _compute(self) -> None:
        """Do what a thread that computes does, until the end: encoders to be warmed first, then batches."""
        take_at_most(max(1, self._torch_threads // max(1, len(self._threads))))
        while True:
            with self._ready:
                while not (self._jobs or self._ended or self._oldest()):
                    self._ready.wait()
                job = self._jobs.popleft() if self._jobs else None
                stage = None if job else self._oldest()
                batch = self._gather(stage) if stage else []
                if not job and not stage:
                    return
            if job:
                _warm(*job)
            elif stage and batch:
                self._embed(stage, batch)

    def _oldest(self) -> Stage | None:
        """The stage whose oldest prepared item came first; None where nothing is prepared."""
        stages = [stage for stage in self._stages.values() if stage.ready.count]
        return min(stages, key=lambda stage: stage.ready.began, default=None)

    def _gather(self, stage: Stage) -> list[Item]:
        """Take the items of the next batch, and drop those whose requests are over."""
        gathering, batch = stage.pipeline.gather(), list[Item]()
        while stage.ready.count and not (gathering.fills_batches() or gathering.is_full()):
            item = stage.take()
            if item.request.is_over() or item.prepared is None:
                self._answer([(item, None, None)])
            else:
                gathering.add(item.prepared)
                batch.append(item)
        return batch

    def _embed(self, stage: Stage, batch: list[Item]) -> None:
        me = threading.get_ident()
        self._busy[me] = time.monotonic()
        found: list[tuple[Item, Vectors | None, InputError | None]]
        try:
            part = stage.pipeline.embed([item.prepared for item in batch if item.prepared is not None])
            rows = {int(place): np.array(row) for place, row in zip(part.positions, part.rows, strict=True)}
            errors = {error.index: error for error in part.errors}
            found = [(item, rows.get(place), errors.get(place)) for place, item in enumerate(batch)]
        except BaseException as cause:  # whatever it is, there are other batches
            _log.error("a batch of %d items failed", len(batch), exc_info=cause)
            self.is_broken = self.is_broken or isinstance(cause, DeviceError)
            for item in batch:
                item.request.refuse(_blame(cause))
            found = [(item, None, None) for item in batch]
        finally:
            del self._busy[me]
        with self._lock:
            self.counts.add_batch(modality_of_key(stage.pipeline.key), len(batch))
            self._done.append((time.monotonic(), len(batch)))
            long_ago = time.monotonic() - self._trimmed > _TRIM
            self._trimmed = time.monotonic() if long_ago else self._trimmed
            self._answer(found)
        if long_ago:
            trim()

    def _answer(self, found: Sequence[tuple[Item, Vectors | None, InputError | None]]) -> None:
        """Give items back to their requests, and finish those that have all of theirs; under the lock."""
        finished = []
        for item, vector, error in found:
            request, cost = item.request, item.prepared.cost if item.prepared is not None else 0
            item.prepared = item.ask = None
            self.items -= 1
            self.nbytes -= item.nbytes
            if error is not None:
                error.source = item.source
                error.at(item.place)
            if vector is not None or error is not None:
                request.answers[item.place] = Answer(vector, error, cost)
                seconds, fault = time.monotonic() - request.began, error.fault if error is not None else ""
                self.counts.add_answer(modality_of_key(item.key), seconds, fault)
            request.left -= 1
            if not request.left or (request.refusal is not None and not request.is_finished):
                request.is_finished = True
                finished.append(request)
        if finished:
            with suppress(RuntimeError):  # the loop was closed, and nobody waits
                self._loop.call_soon_threadsafe(_finish, finished)


def _refuse() -> StoppedError:
    return StoppedError("the service stops", remedy="ask again later", retry_after=1.0)


def _finish(requests: Sequence[Request]) -> None:
    for request in requests:
        request.finish()


def _warm(work: Callable[[], None], done: Future[None]) -> None:
    try:
        work()
    except BaseException as cause:
        done.set_exception(cause)
    else:
        done.set_result(None)


def _blame(cause: BaseException) -> BatchError:
    error = BatchError("what computes the vectors failed", remedy="see the server's log, and ask again")
    error.__cause__ = cause
    return error
