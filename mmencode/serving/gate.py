"""The gate lets requests in: it checks who asks, then how much comes, and how long that takes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import random
import re
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pydantic_core import to_json

from .exchange import REQUEST_HEADER, SPACE_HEADER, Exchange
from .faults import RequestError, openai_body
from .gateway import Gateway
from .options import ServerOptions

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_PLAIN = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_LOCAL = re.compile(r"(localhost|[a-z0-9-]+\.localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?", re.I)
_DRAINED = 4  # times the largest body that is read and dropped, so that its client gets to read the answer
_numbers = random.Random()  # of ids, which needn't be secret: the system's would cost a call of it
_log = logging.getLogger("mmencode.serving")


class Gate:
    """The outermost part of the server, an ASGI middleware."""

    def __init__(self, app: App, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway
        self._options: ServerOptions = gateway.options
        self._digests = [_digest(key) for key in self._options.keys]
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with an error."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get(b"x-request-id", "")
        exchange = Exchange(given if _PLAIN.fullmatch(given) else f"{_numbers.getrandbits(128):032x}")
        exchange.enter(scope)
        outgoing = _Outgoing(send, exchange)
        body = _Body(self, receive, headers)
        try:
            with self._gateway.metrics.request(scope, outgoing, exchange):
                try:
                    self._admit(scope, headers, exchange)
                    await body.read()
                    await self._pass_on(scope, body, exchange, outgoing)
                except RequestError as error:
                    await outgoing.refuse(error)
                except _LeftError:
                    exchange.is_gone = True
        finally:
            self._held -= body.held

    async def _pass_on(self, scope: Scope, body: _Body, exchange: Exchange, outgoing: _Outgoing) -> None:
        watching = asyncio.create_task(body.watch(exchange))
        try:
            await self._app(scope, body.receive, outgoing.send)
        except Exception:
            _log.exception("request %s failed", exchange.request_id)
            if not outgoing.status:
                await outgoing.refuse(
                    RequestError("the server failed; its log has the cause", status=500, code="server_error")
                )
        finally:
            watching.cancel()

    def _admit(self, scope: Scope, headers: dict[bytes, str], exchange: Exchange) -> None:
        """Check who asks; RequestError for a request without a key, or that doesn't name this machine."""
        client = scope.get("client")
        exchange.client = str(client[0]) if client else ""
        exchange.expected = headers.get(SPACE_HEADER.lower().encode(), "")
        if not self._digests:
            if not _LOCAL.fullmatch(headers.get(b"host", "")):
                raise RequestError(
                    "without keys this server answers only requests to localhost",
                    status=421,
                    code="misdirected",
                    remedy="ask http://127.0.0.1, or start the server with a key",
                )
            return
        if scope["path"] in self._options.open_paths:
            return
        scheme, _, token = headers.get(b"authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else headers.get(b"x-api-key", "")
        given = given or headers.get(b"api-key", "")
        digest, found = _digest(given), False
        for known in self._digests:  # all of them, so that the time tells nothing
            found |= hmac.compare_digest(digest, known)
        if not found:
            raise RequestError(
                "this server asks for a key, and the request has none that it knows",
                status=401,
                code="invalid_api_key",
                remedy="send the header Authorization: Bearer KEY",
                headers={"WWW-Authenticate": "Bearer"},
            )
        exchange.client = digest.hex()[:16]

    def hold(self, count: int) -> None:
        """Count bytes of bodies that are held; RequestError where all together are too many."""
        if self._held + count > self._options.bodies:
            raise RequestError(
                "the requests that are in work are too large to take another one",
                status=429,
                code="too_many_bytes",
                remedy="ask again later",
                retry_after=1.0,
            )
        self._held += count


class _Body:
    """The body of one request: read whole, within limits, then handed on."""

    def __init__(self, gate: Gate, receive: Receive, headers: dict[bytes, str]) -> None:
        self._gate, self._receive, self._headers = gate, receive, headers
        self._options = gate._options
        self._pieces: deque[bytes] = deque()
        self._is_handed_on = False
        self._left = asyncio.Event()
        self._is_too_large = False
        self.held = 0

    async def read(self) -> None:
        """Read the body; RequestError for one that is too large, too slow or compressed."""
        coding = self._headers.get(b"content-encoding", "identity").strip().lower()
        if coding != "identity":
            raise RequestError("compressed bodies aren't taken", status=415, code="content_encoding")
        stated = self._headers.get(b"content-length", "")
        try:
            async with asyncio.timeout(self._options.body_wait):
                if stated.isdigit() and (len(stated) > 18 or int(stated) > self._options.body):
                    await self._drain()
                while True:
                    piece, more = await self._next()
                    if self.held + len(piece) > self._options.body:
                        self._pieces.clear()
                        await self._drain()
                    self._gate.hold(len(piece))
                    self.held += len(piece)
                    self._pieces.append(piece)
                    if not more:
                        break
        except TimeoutError:
            if self._is_too_large:
                raise self._too_large() from None
            raise RequestError(
                f"the body didn't arrive within {self._options.body_wait:g} s",
                status=408,
                code="slow_body",
                headers={"Connection": "close"},
            ) from None

    async def _next(self) -> tuple[bytes, bool]:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise _LeftError
        return message.get("body", b""), message.get("more_body", False)

    async def _drain(self) -> None:
        """Read on for a while without keeping anything, then refuse the body as too large."""
        self._is_too_large = True
        dropped, more = 0, True
        while more and dropped < _DRAINED * self._options.body:
            piece, more = await self._next()
            dropped += len(piece)
        raise self._too_large()

    def _too_large(self) -> RequestError:
        return RequestError(
            f"the body has more than {self._options.body} bytes",
            status=413,
            code="body_too_large",
            remedy="send fewer or smaller items at once",
            headers={"Connection": "close"},
        )

    async def receive(self) -> Message:
        """Give the body piece by piece, once, and then wait until the client leaves."""
        if self._is_handed_on:
            await self._left.wait()
            return {"type": "http.disconnect"}
        piece = self._pieces.popleft() if self._pieces else b""
        self._is_handed_on = not self._pieces
        return {"type": "http.request", "body": piece, "more_body": not self._is_handed_on}

    async def watch(self, exchange: Exchange) -> None:
        """Wait until the client leaves, and note it."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        exchange.is_gone = True
        self._left.set()


class _Outgoing:
    """The answer to one request on its way, to which the headers are added that all answers have."""

    def __init__(self, send: Send, exchange: Exchange) -> None:
        self._send, self._exchange = send, exchange
        self.status = 0

    async def send(self, message: Message) -> None:
        """Send a message of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", ()),
                (REQUEST_HEADER.lower().encode(), self._exchange.request_id.encode()),
                (b"x-content-type-options", b"nosniff"),
                (b"cache-control", b"no-store"),
            ]
            if self._exchange.space:
                message["headers"].append((SPACE_HEADER.lower().encode(), self._exchange.space.encode()))
        await self._send(message)

    async def refuse(self, error: RequestError) -> None:
        """Send an error as the whole answer."""
        self._exchange.error = error.code
        content = to_json(openai_body(error, self._exchange.space))
        headers = [(name.lower().encode(), value.encode()) for name, value in headers_of(error).items()]
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": content})


def headers_of(error: RequestError) -> dict[str, str]:
    """Make the headers of an error's answer."""
    later = {} if error.retry_after is None else {"Retry-After": str(max(1, round(error.retry_after)))}
    return {**error.headers, **later}


class _LeftError(Exception):
    """A client left before its request was whole."""


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
