"""Loaded spaces that requests of all clients share; asyncio, and nothing of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ..embeddings.array_types import Vectors
from ..errors import MmencodeError
from ..spaces.sides import Role
from ..spaces.space import Space
from .refusals import BatchError, GoneError, NotReadyError, QueueFullError, StoppedError, TooLateError


@dataclass(frozen=True, slots=True)
class Ask:
    """One item of a request, as `Space.encode` takes it; `source` is its name in messages."""

    modality: str
    item: Any
    role: Role = ""
    source: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Answer:
    """The vector of an item, float32 `[dim]`, or `[t, dim]` where its space has many, or else its error.

    `cost` is what the item counts as in usage, by `Encoder.cost`: tokens of a text.
    """

    vector: Vectors | None
    error: MmencodeError | None
    cost: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ServingLimits:
    """The most that a service holds of requests, and for how long.

    items   of all clients that wait: 4096
    bytes   of these items, as they came and prepared: 512 MiB
    wait    seconds in which a request is answered, unless it says another number: 60
    """

    items: int = 4096
    bytes: int = 2**29
    wait: float = 60.0


class Service:
    """One loaded space, which the requests of all clients share."""

    def __init__(self, space: Space, *, limits: ServingLimits | None = None) -> None:
        self.space = space
        self.limits = ServingLimits() if limits is None else limits
        self._ready: set[str] = set()
        self._waiting = 0
        self._pool: ThreadPoolExecutor | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that the space has here."""
        return self.space.modalities

    def is_ready(self, modality: str = "") -> bool:
        """Whether the encoders of a modality are loaded; of all that were asked for, without one."""
        return bool(self._ready) if not modality else modality in self._ready

    def is_healthy(self) -> bool:
        """Whether the threads that compute still answer."""
        return self._pool is not None

    async def start(self, *modalities: str) -> None:
        """Load the encoders of these modalities, or of all, and begin to answer."""
        self._pool = ThreadPoolExecutor(1, "mmencode-serving")
        wanted = modalities or self.modalities
        keys = [key for key in self.space.keys if key.partition(":")[0] in wanted]
        await asyncio.get_running_loop().run_in_executor(self._pool, self.space.preload, *keys)
        self._ready.update(wanted)

    async def stop(self) -> None:
        """Finish what is in work, and answer nothing more."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)

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
        for ask in asks:
            self.space.spec(self.space.key(ask.modality, ask.role))
        if self._pool is None:
            raise StoppedError("the service doesn't run", remedy="ask again later", retry_after=1.0)
        if missing := {ask.modality for ask in asks} - self._ready:
            raise NotReadyError(
                f"the encoder of {min(missing)!r} isn't loaded yet", remedy="ask again later", retry_after=1.0
            )
        if self._waiting + len(asks) > self.limits.items:
            raise QueueFullError(
                f"{self._waiting} items wait, and {len(asks)} more are more than {self.limits.items}",
                remedy="ask again later, or for fewer items at once",
                retry_after=1.0,
            )
        self._waiting += len(asks)
        try:
            work = asyncio.get_running_loop().run_in_executor(self._pool, self._encode, asks, is_gone)
            return await asyncio.wait_for(work, self.limits.wait if wait is None else wait)
        except TimeoutError as cause:
            raise TooLateError("the request wasn't answered in time", remedy="ask for fewer items") from cause
        finally:
            self._waiting -= len(asks)

    def _encode(self, asks: Sequence[Ask], is_gone: Callable[[], bool] | None) -> list[Answer]:
        if is_gone is not None and is_gone():
            raise GoneError("the client left")
        try:
            found: dict[int, Answer] = {}
            for kind in dict.fromkeys((ask.modality, ask.role) for ask in asks):
                places = [place for place, ask in enumerate(asks) if (ask.modality, ask.role) == kind]
                answers = self._encode_alike(*kind, [asks[place] for place in places], places)
                found |= zip(places, answers, strict=True)
            return [found[place] for place in range(len(asks))]
        except Exception as cause:
            raise BatchError("the batch failed", remedy="see the server's log") from cause

    def _encode_alike(
        self, modality: str, role: Role, asks: Sequence[Ask], places: Sequence[int]
    ) -> Iterator[Answer]:
        items = [ask.item for ask in asks]
        vectors: list[Vectors]
        if self.space.spec(self.space.key(modality, role)).outputs == "many":
            many = self.space.encode_multi(modality, items, role=role, on_error="skip")
            vectors, positions, errors = list(many.arrays), many.positions, many.errors
        else:
            one = self.space.encode(modality, items, role=role, on_error="skip")
            vectors, positions, errors = list(one.vectors), one.positions, one.errors
        rows = dict(zip(positions.tolist(), vectors, strict=True))
        failed = {error.index: error for error in errors}
        for row, (ask, place) in enumerate(zip(asks, places, strict=True)):
            if (error := failed.get(row)) is not None:
                error.index, error.source = place, ask.source or error.source
            yield Answer(rows.get(row), error, 1)


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
