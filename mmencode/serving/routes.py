"""Routes of protocols: bodies are parsed in threads, and errors answered in the protocol's own shape."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from functools import cached_property
from typing import Any, ClassVar

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic_core import from_json, to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ..errors import MmencodeError
from .exchange import Exchange
from .faults import RequestError, as_request_error, openai_body
from .gate import headers_of
from .gateway import Gateway

SMALL = 2**18  # bytes of a body that is parsed, or of an answer that is written, on the event loop itself
_JSON = re.compile(r"application/([a-z0-9.-]+\+)?json\s*(;\s*charset=\"?utf-8\"?\s*)?", re.IGNORECASE)
ErrorBody = Callable[[RequestError, str], dict[str, Any]]


class ProtocolRoute(APIRoute):
    """A route whose body is JSON, parsed in a thread where it is large.

    A protocol with errors of its own shape inherits from this with another `error_body`, and names the class
    as the `route_class` of its router. With `takes_json` False the route reads `request.body()` itself.
    """

    error_body: ClassVar[ErrorBody] = staticmethod(openai_body)
    takes_json: ClassVar[bool] = True

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Give the function that answers a request; FastAPI asks for one each time the route is included."""
        return _Answering(self, super().get_route_handler()).answer

    @cached_property
    def names(self) -> frozenset[str]:
        """The names that the route's parameters and the fields of its body have, which errors may say."""
        names = {parameter.name for parameter in self.dependant.query_params}
        kind: Any = self.body_field.field_info.annotation if self.body_field is not None else None
        return names_of(kind) | names if hasattr(kind, "model_json_schema") else frozenset(names)


def names_of(kind: type[BaseModel]) -> frozenset[str]:
    """Find the names of all fields of a body, which errors may say."""
    schema = kind.model_json_schema()
    parts = (schema, *schema.get("$defs", {}).values())
    return frozenset(name for part in parts for name in part.get("properties", {}))


class _Answering:
    """Answers requests to a route by FastAPI's own function for it, with the body parsed before."""

    def __init__(
        self, route: ProtocolRoute, inner: Callable[[Request], Coroutine[Any, Any, Response]]
    ) -> None:
        self._route, self._inner = route, inner

    async def answer(self, request: Request) -> Response:
        """Answer a request, with an error in the protocol's shape where it is refused."""
        route = self._route
        try:
            if route.takes_json and route.body_field is not None:
                await parse_body(request)
            return await self._inner(request)
        except RequestValidationError as cause:
            error = explain_validation(cause, route.names)
        except MmencodeError as cause:
            error = as_request_error(cause)
        return answer_error(request, error, type(route).error_body)


def answer_error(request: Request, error: RequestError, body: ErrorBody = openai_body) -> Response:
    """Make the answer of an error, and note its code for the figures."""
    exchange = Exchange.of(request.scope)
    exchange.error = error.code
    content = to_json(body(error, exchange.space))
    return Response(content, error.status, headers_of(error), "application/json")


def is_json(request: Request) -> bool:
    """Whether the body of a request is said to be JSON."""
    return _JSON.fullmatch(request.headers.get("content-type", "").strip()) is not None


async def parse_body(request: Request) -> None:
    """Parse the body of a request as JSON, in a thread where it is large; FastAPI then finds it parsed.

    Raises RequestError for another content type, and for what is no JSON by RFC 8259.
    """
    if not is_json(request):
        raise RequestError(
            "the body isn't said to be JSON",
            status=415,
            code="content_type",
            remedy="send the header Content-Type: application/json",
        )
    pieces = [piece async for piece in request.stream()]
    if sum(map(len, pieces)) > SMALL:
        parsed = await Gateway.of(request).run(_parse, pieces)
    else:
        parsed = _parse(pieces)
    request._json = parsed
    request._body = b"{}"  # the bytes may go; FastAPI only asks whether there are any


def _parse(pieces: list[bytes]) -> Any:
    try:
        return from_json(b"".join(pieces), allow_inf_nan=False, cache_strings="keys")
    except ValueError:  # whose message quotes the input
        raise RequestError("the body isn't valid JSON", status=400, code="invalid_json") from None


async def write_json(request: Request, write: Callable[[], bytes], *, size: int) -> Response:
    """Make an answer of JSON that `write` writes, in a thread where about `size` bytes are many."""
    content = await Gateway.of(request).run(write) if size > SMALL else write()
    return Response(content, media_type="application/json")


def explain_validation(cause: RequestValidationError, names: frozenset[str]) -> RequestError:
    """Say what is wrong with the shape of a body, by names of its fields and places, without the input."""
    first = cause.errors()[0]
    kind = str(first.get("type", ""))
    place = [part for part in first.get("loc", ())[1:] if isinstance(part, int) or part in names]
    shown = ".".join(map(str, place)) or "the body"
    if kind == "extra_forbidden":
        fact = f"{shown} has a field that this server doesn't know" if place else "a field is unknown here"
        remedy = f"leave out others than {', '.join(sorted(names))}" if not place else "leave it out"
        return RequestError(fact, status=422, code="unknown_field", remedy=remedy)
    said = str(first.get("msg", "it isn't valid"))
    return RequestError(
        f"{shown}: {said[:1].lower()}{said[1:]}",
        status=422,
        code="invalid_shape",
        param=shown if place else "",
    )


async def answer_http_exception(request: Request, cause: Exception) -> Response:
    """Answer what Starlette and FastAPI refuse by themselves, such as an unknown path."""
    assert isinstance(cause, HTTPException)
    known = {404: "there is no such path", 405: "the path has no such method", 400: "the request isn't valid"}
    codes = {404: "not_found", 405: "method_not_allowed"}
    error = RequestError(
        known.get(cause.status_code, "the request can't be answered"),
        status=cause.status_code,
        code=codes.get(cause.status_code, "invalid_request"),
        headers=cause.headers,
    )
    return answer_error(request, error)


async def answer_validation(request: Request, cause: Exception) -> Response:
    """Answer a request of another shape that came to a route which is no protocol's."""
    assert isinstance(cause, RequestValidationError)
    return answer_error(request, explain_validation(cause, frozenset()))
