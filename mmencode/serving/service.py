"""Loaded spaces that requests of all clients share; asyncio, and nothing of HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch

from ..plugins.spec import modality_of_key
from ..spaces.space import Space
from .counts import Counts
from .queue import Queue
from .refusals import GoneError, NotReadyError, QueueFullError, Refusal, StoppedError
from .turns import Answer as Answer
from .turns import Ask as Ask
from .turns import Request, weigh

_BEAT = 0.05  # seconds between two looks at threads that prepare items


@dataclass(frozen=True, kw_only=True, slots=True)
class ServingLimits:
    """The most that a service holds of requests, and for how long.

    items   of all clients that wait: 4096
    bytes   of these items, as they came and prepared: 512 MiB
    wait    seconds in which a request is answered, unless it says another number: 60
    stall   seconds that one batch may take before the service counts as unhealthy: 60
    grace   seconds in which a service that stops finishes what is in work: 30
    """

    items: int = 4096
    bytes: int = 2**29
    wait: float = 60.0
    stall: float = 60.0
    grace: float = 30.0


class Service:
    """One loaded space, which the requests of all clients share."""

    limits: ServingLimits

    def __init__(self, space: Space, *, limits: ServingLimits | None = None) -> None:
        self.space = space
        self.limits = ServingLimits() if limits is None else limits
        self._queue: Queue | None = None
        self._watch: asyncio.Task[None] | None = None
        self._has_work: asyncio.Event | None = None
        self._is_stopping = False

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that the space has here."""
        return self.space.modalities

    @property
    def counts(self) -> Counts:
        """The figures of all that was answered since the service was started."""
        return self._queue.counts if self._queue is not None else Counts()

    @property
    def lengths(self) -> dict[str, int]:
        """The number of items that wait, by modality."""
        return self._queue.lengths() if self._queue is not None else {}

    def is_ready(self, modality: str = "") -> bool:
        """Whether the encoders of a modality are loaded and warm; of any, without one."""
        ready = self._queue.keys if self._queue is not None else ()
        wanted = [key for key in self.space.keys if modality_of_key(key) == modality] if modality else ready
        return bool(wanted) and all(key in ready for key in wanted)

    def is_healthy(self) -> bool:
        """Whether the threads that compute still answer, and their device does."""
        queue = self._queue
        return queue is not None and not queue.is_broken and queue.seconds_in_batch() < self.limits.stall

    async def start(self, *modalities: str) -> None:
        """Load and warm the encoders of these modalities, or of all, and answer what is ready already.

        Raises what loading raises for the first of those that can't be loaded, once the others are ready.
        """
        loop, runtime = asyncio.get_running_loop(), self.space.runtime
        if self._queue is None:
            threads = min(runtime.cores, torch.get_num_threads())  # fewer where the caller has set that
            self._queue = Queue(loop, runtime.cores, threads, self.space.limits.wait)
            self._has_work = asyncio.Event()
            self._watch = loop.create_task(_keep_watch(self._queue, self._has_work))
            self._is_stopping = False
        wanted = modalities or self.modalities
        keys = [key for key in self.space.keys if modality_of_key(key) in wanted]
        missing = [key for key in keys if key not in self._queue.keys]
        opening = [_in_thread("load", self._open, self._queue, key) for key in missing]
        found = await asyncio.gather(*opening, return_exceptions=True)
        if failures := [each for each in found if each is not None]:
            raise failures[0]

    async def stop(self) -> None:
        """Finish what is in work, within `ServingLimits.grace`, and answer nothing more."""
        queue, watch = self._queue, self._watch
        if queue is None or watch is None or self._is_stopping:
            return
        self._is_stopping = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.limits.grace
        while queue.items and loop.time() < deadline and queue.seconds_in_batch() < self.limits.stall:
            await asyncio.sleep(0.01)
        self._queue = self._watch = None
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
        await _in_thread("end", queue.end, max(0.0, deadline - loop.time()))

    async def embed(
        self,
        asks: Sequence[Ask],
        *,
        client: str = "",
        wait: float | None = None,
        is_gone: Callable[[], bool] | None = None,
    ) -> list[Answer]:
        """Answer each item of a request in order, within `wait` seconds.

        Requests of one `client` take turns with those of others. An item that fails has its error, and costs
        no other one. `is_gone` is asked in any thread whether the request's client has left. Raises
        UnknownModalityError, ValueError for a role that isn't one, and a Refusal for the request as a whole.
        """
        try:
            return await self._embed(asks, client, self.limits.wait if wait is None else wait, is_gone)
        except Refusal as refusal:
            self.counts.refused[type(refusal).__name__] += 1
            raise

    async def _embed(
        self, asks: Sequence[Ask], client: str, seconds: float, is_gone: Callable[[], bool] | None
    ) -> list[Answer]:
        keys = [self.space.spec(self.space.key(ask.modality, ask.role)).key for ask in asks]
        queue = self._require_ready(keys)
        sizes = [weigh(ask.item) for ask in asks]
        self._require_room(queue, len(asks), sum(sizes))
        if not asks:
            return []
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[list[Answer]] = loop.create_future()
        request = Request(asks, client, seconds, is_gone, answered)
        late = loop.call_later(seconds, request.expire)
        try:
            queue.put(request, asks, keys, sizes)
            if self._has_work is not None:
                self._has_work.set()
            return await answered
        finally:
            late.cancel()
            if not answered.done() or answered.cancelled():  # so that its items are dropped at their turn
                request.refuse(GoneError("nobody waits for the request"))

    def _open(self, queue: Queue, key: str) -> None:
        queue.open(self.space.pipeline(key))

    def _require_ready(self, keys: Sequence[str]) -> Queue:
        if self._queue is None or self._is_stopping:
            raise StoppedError("the service doesn't run", remedy="ask again later", retry_after=1.0)
        if missing := set(keys).difference(self._queue.keys):
            raise NotReadyError(
                f"the encoder of {modality_of_key(min(missing))!r} isn't loaded yet",
                remedy="ask again later",
                retry_after=1.0,
            )
        return self._queue

    def _require_room(self, queue: Queue, items: int, nbytes: int) -> None:
        limits = self.limits
        if queue.items + items > limits.items or queue.nbytes + nbytes > limits.bytes:
            raise QueueFullError(
                f"{queue.items} items wait, of {queue.nbytes} bytes; with {items} more, of {nbytes} bytes, "
                f"they would be over {limits.items} items or {limits.bytes} bytes",
                remedy="ask again later, or for fewer items at once",
                retry_after=queue.seconds_ahead(),
            )


class Services:
    """Several spaces by name; the first is the default."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        if not services:
            raise ValueError("no space is to be served: name at least one")
        self._services = dict(services)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the spaces, the default one first."""
        return tuple(self._services)

    @property
    def default(self) -> Service:
        """The service of the space that is meant where a request names none."""
        return self._services[self.names[0]]

    def __getitem__(self, name: str) -> Service:
        """Give the service of a space; KeyError where none has this name."""
        return self._services[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._services)

    def __len__(self) -> int:
        return len(self._services)


async def _keep_watch(queue: Queue, has_work: asyncio.Event) -> None:
    while True:
        await has_work.wait()
        await asyncio.sleep(_BEAT)
        queue.watch()
        if not queue.items:
            has_work.clear()


def _in_thread(name: str, function: Callable[..., None], *arguments: object) -> asyncio.Future[None]:
    """Call a function in a thread of its own, for which the end of the process doesn't wait."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def work() -> None:
        error: BaseException | None = None
        try:
            function(*arguments)
        except BaseException as cause:
            error = cause
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=work, name=f"mmencode-{name}", daemon=True).start()
    return done
