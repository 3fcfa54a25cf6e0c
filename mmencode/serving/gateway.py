"""The gateway is what all protocols share: they choose a space by it, read items, and have them embedded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from starlette.requests import HTTPConnection

from ..card import is_same_space
from ..errors import InputError, MmencodeError
from ..inputs import Limits
from ..inputs.fetching import Fetcher
from ..spaces.space import Space
from .asking import Part, Wanted, arrange, choose_modalities, is_inline, read_part, url_of
from .exchange import SPACE_HEADER, Exchange
from .faults import RequestError, as_request_error, fail_items, item_fault
from .metrics import Metrics
from .options import ServerOptions
from .service import Answer, Ask, Service, Services
from .spans import Spans

T = TypeVar("T")
Look = Callable[[Part, Any], None]

_URLS = 128  # of one request
_THREADS, _FETCHES = 2, 8
_log = logging.getLogger("mmencode.serving")


class Gateway:
    """The spaces that a server has, its settings, and threads for what its event loop never does."""

    metrics: Metrics
    spans: Spans

    def __init__(self, services: Services, options: ServerOptions) -> None:
        self.services = services
        self.options = options
        self.metrics = Metrics(services)
        self.spans = Spans()
        self.ids: dict[str, str] = {}
        self.failure: BaseException | None = None
        self.fetcher: Fetcher | None = None
        self._limits: dict[str, Limits] = {}
        if options.allow_urls:
            hosts, networks = options.allow_urls, options.allow_networks
            self.fetcher = Fetcher(hosts, networks=networks, wait=options.fetch_wait)
        self._threads = ThreadPoolExecutor(_THREADS, "mmencode-http")
        self._fetching = ThreadPoolExecutor(_FETCHES, "mmencode-fetch")

    async def start(self) -> None:
        """Load all spaces, the default one first; requests for what isn't loaded yet get 503."""
        for name in self.services.names:
            await asyncio.gather(self.services[name].start(), self._identify(name))

    async def _identify(self, name: str) -> None:
        service = self.services[name]
        self.ids[name] = await self.run(lambda: service.space.id)

    @property
    def is_ready(self) -> bool:
        """Whether all spaces are loaded, for all of their modalities."""
        return all(
            name in self.ids and all(map(self.services[name].is_ready, self.services[name].modalities))
            for name in self.services.names
        )

    async def stop(self) -> None:
        """Finish what is in work, and let the threads end."""
        for name in self.services.names:
            await self.services[name].stop()
        self._threads.shutdown(wait=False)
        self._fetching.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def of(request: HTTPConnection) -> Gateway:
        """Find the gateway of the app that a request came to."""
        found = request.app.state.gateway
        assert isinstance(found, Gateway)
        return found

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a function in a thread for work that is short and isn't computing vectors."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def choose(self, request: HTTPConnection, model: str | None = None) -> Service:
        """Choose the space that a request means by its model: a name, or an id; the default without one.

        Raises RequestError, 404 for an unknown name, 409 for another id, 503 before the space is loaded.
        """
        exchange = Exchange.of(request.scope)
        name, at, _ = (model or "").partition("@")
        name = name or self.services.names[0]
        if name not in self.services.names:
            raise RequestError(
                f"there is no such model here; this server has {', '.join(self.services.names)}",
                status=404,
                code="model_not_found",
                param="model",
            )
        if name not in self.ids:
            raise RequestError(
                "the space is still loading",
                status=503,
                code="not_ready",
                remedy="ask later",
                retry_after=1.0,
            )
        exchange.space = self.ids[name]
        if at:
            self.require_space(request, self.ids[name], expected=model or "")
        return self.services[name]

    def require_space(self, request: HTTPConnection, space: str, *, expected: str = "") -> None:
        """Note the id of the space that the vectors are of; RequestError, 409, where another is expected.

        A client names it in the header X-Mmencode-Space, or in its protocol's own place.
        """
        exchange = Exchange.of(request.scope)
        exchange.space = space
        for asked in filter(None, (exchange.expected, expected)):
            if not is_same_space(asked, space):
                raise RequestError(
                    f"the vectors would be of the space {space}, and the request expects another one",
                    status=409,
                    code="space_mismatch",
                    remedy=f"encode again what they are compared with, or leave {SPACE_HEADER} out",
                )

    async def answer(
        self,
        request: HTTPConnection,
        service: Service,
        wanted: Sequence[Wanted],
        *,
        look: Look | None = None,
    ) -> list[Answer]:
        """Embed the items of a request in order; those that can't be have an error in place of a vector.

        `look` is called with each part and the str or bytes that it stands for, in any thread.

        Raises RequestError for too many items, for one that no encoder of the space takes, and for all that
        ends a request as a whole.
        """
        self.require_few(len(wanted))
        modalities = choose_modalities(service.space, wanted)
        exchange = Exchange.of(request.scope)
        with self.spans.embeddings(request, service.space.name) as span:
            try:
                read = await self._read(service.space, wanted, modalities, look)
                asks = [each for each in read if isinstance(each, Ask)]
                found = iter(
                    await service.embed(
                        asks, client=exchange.client, wait=self.options.wait, is_gone=exchange.has_left
                    )
                    if asks
                    else ()
                )
            except MmencodeError as cause:
                raise self._explain(cause, exchange) from cause
            answers = [next(found) if isinstance(each, Ask) else Answer(None, each, 0) for each in read]
            span.finish(answers)
        self.metrics.count_items(service.space.name, modalities, answers)
        return answers

    def require_few(self, count: int) -> None:
        """Raise RequestError for more items than a request may have, which is known before they are read."""
        if count > self.options.items:
            raise RequestError(
                f"the request has {count} items, and {self.options.items} are the most",
                status=413,
                code="too_many_items",
                param="input",
            )

    def require_all(self, answers: Sequence[Answer]) -> None:
        """Raise RequestError, which lists the items, where any of them has no vector."""
        faults = [item_fault(each.error, place) for place, each in enumerate(answers) if each.error]
        if faults:
            raise fail_items(faults, len(answers))

    def _explain(self, cause: MmencodeError, exchange: Exchange) -> RequestError:
        found = as_request_error(cause)
        if found.status >= 500 and found.status not in (503, 504):
            _log.error("request %s failed", exchange.request_id, exc_info=cause)
        return found

    async def _read(
        self, space: Space, wanted: Sequence[Wanted], modalities: Sequence[str], look: Look | None
    ) -> list[Ask | MmencodeError]:
        limits = space.limits
        if limits.bytes > self.options.body:
            limits = self._limits.get(space.name) or self._limits.setdefault(
                space.name, replace(limits, bytes=self.options.body)
            )
        urls = sum(bool(url_of(part)) for each in wanted for part in each.parts)
        if urls > _URLS:
            raise RequestError(
                f"the request has {urls} URLs, and {_URLS} are the most", status=413, code="too_many_items"
            )
        room = _Room(self.options.body, look)
        if urls:
            loop, pool = asyncio.get_running_loop(), self._fetching
            work = [
                loop.run_in_executor(pool, self._read_one, limits, room, each, modality)
                for each, modality in zip(wanted, modalities, strict=True)
            ]
            return list(await asyncio.gather(*work))
        if all(is_inline(part.modality) for each in wanted for part in each.parts):  # nothing to decode
            return self._read_all(limits, room, wanted, modalities)
        return await self.run(self._read_all, limits, room, wanted, modalities)

    def _read_all(
        self, limits: Limits, room: _Room, wanted: Sequence[Wanted], modalities: Sequence[str]
    ) -> list[Ask | MmencodeError]:
        pairs = zip(wanted, modalities, strict=True)
        return [self._read_one(limits, room, each, modality) for each, modality in pairs]

    def _read_one(self, limits: Limits, room: _Room, wanted: Wanted, modality: str) -> Ask | MmencodeError:
        try:
            values = [room.take(part, read_part(part, limits, self.fetcher)) for part in wanted.parts]
        except MmencodeError as error:
            return error
        return Ask(modality, arrange(modality, wanted.parts, values), wanted.role)


class _Room:
    """The bytes that the items of one request may have together, which those of URLs could exceed."""

    def __init__(self, most: int, look: Look | None) -> None:
        self._most, self._taken, self._look = most, 0, look

    def take(self, part: Part, value: T) -> T:
        """Count the bytes that a part stands for; InputError where they are too many."""
        self._taken += len(value) if isinstance(value, bytes) else 0
        if self._taken > self._most:
            raise InputError(
                f"the items of the request have more than {self._most} bytes together",
                source="an item",
                remedy="send fewer at once",
                fault="limit",
            )
        if self._look is not None:
            self._look(part, value)
        return value
