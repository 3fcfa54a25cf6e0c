"""OpenAI's protocol for embeddings, with the fields by which other servers add images and sounds."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import JSONResponse, Response

from ...plugins.spec import TEXT
from ..embedding import Embedded, any_has_many, embed_items
from ..faults import RequestError
from ..gateway import Gateway
from ..numbers import show
from ..routes import ProtocolRoute, write_json
from .dialects import Dialect, Settled, settle
from .shapes import read_input, read_messages

_ERROR = {
    "type": "object",
    "required": ["error", "message", "detail"],
    "properties": {
        "message": {"type": "string"},
        "detail": {"type": "string"},
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
                "items": {"type": "array", "items": {"type": "object"}},
            },
        },
        "space": {"type": "string"},
    },
}
MEANINGS = {
    400: "The body isn't JSON, or asks for what the space hasn't.",
    401: "The key is missing or unknown.",
    404: "There is no such model here.",
    408: "The body came too slowly.",
    409: "The vectors would be of another space than the request expects.",
    413: "The body is too large, or has too many items.",
    415: "The body isn't said to be JSON, or is compressed.",
    421: "Without keys the server answers only requests to this machine.",
    422: "The body has another shape, or an item can't be encoded.",
    429: "Too much waits; Retry-After says when to ask again.",
    500: "The server failed.",
    503: "The space is loading, or the server stops.",
    504: "The request wasn't answered in time.",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": meaning, "content": {"application/json": {"schema": _ERROR}}}
    for status, meaning in MEANINGS.items()
}
_OBJECT = {"type": "object"}
_INPUT = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        {"type": "array", "items": {"type": "integer"}, "minItems": 1},
        {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}, "minItems": 1},
        {"type": "array", "items": _OBJECT, "minItems": 1},
        {"type": "array", "items": {"type": "array", "items": _OBJECT}, "minItems": 1},
    ]
}


class EmbeddingRequest(Dialect):
    """A request for vectors, as OpenAI's clients send it, and what others add."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(None, description="The name or the id of a space; the first one without it.")
    input: Annotated[Any, Field(json_schema_extra=_INPUT)] = Field(
        None, description="Items: strings, tokens, or objects with parts."
    )
    messages: list[Any] | None = Field(None, description="One item, as a chat's message (vLLM, SGLang).")
    modality: str = Field(TEXT, description="Of strings that are items (infinity).")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1, description="One of the widths that the model declares.")
    role: Literal["", "query", "document"] = Field("", description="The side that items are encoded for.")
    space: str = Field("", description="The id of the space that the vectors must be of, or else 409.")
    user: str | None = Field(None, description="Without a meaning here.")


def routes(gateway: Gateway) -> APIRouter:
    """Make the routes /v1/embeddings and /v1/models; the former also where infinity has it, /embeddings."""
    router = APIRouter(route_class=ProtocolRoute, tags=["openai"])
    started = int(time.time())

    @router.post("/v1/embeddings", responses=ERRORS)
    @router.post("/embeddings", responses=ERRORS, include_in_schema=False)
    async def embeddings(asked: EmbeddingRequest, request: Request) -> Response:
        """Turn items into vectors of one space, in order."""
        return await embed(gateway, asked, request)

    @router.get("/v1/models", responses=ERRORS)
    async def models() -> JSONResponse:
        """List the spaces, each with its id."""
        found = [describe_model(gateway, name, started) for name in gateway.services.names]
        return JSONResponse({"object": "list", "data": found})

    @router.get("/v1/models/{model}", responses=ERRORS)
    async def model(model: str, request: Request) -> JSONResponse:
        """Describe one space by its name."""
        service = gateway.choose(request, model)
        return JSONResponse(describe_model(gateway, service.space.name, started))

    return router


async def embed(gateway: Gateway, asked: EmbeddingRequest, request: Request) -> Response:
    """Answer a request for embeddings."""
    service = gateway.choose(request, asked.model)
    if (asked.input is None) == (asked.messages is None):
        raise RequestError(
            "the request has neither input nor messages, or both",
            status=422,
            code="invalid_input",
            param="input",
        )
    gateway.require_few(len(asked.input) if isinstance(asked.input, list) else 1)
    settled = settle(asked, asked.role, asked.dimensions, asked.encoding_format)
    if asked.messages is not None:
        wanted = [read_messages(asked.messages, settled.role)]
    else:
        wanted = read_input(asked.input, asked.modality, settled.role)
    many = any_has_many(service.space, wanted)
    if settled.many and not many:
        raise RequestError(
            "the space has one vector for each item",
            status=400,
            code="single_vectors",
            param="return_multivector",
            remedy="leave it out",
        )
    single = settled.kind != "float" or settled.many is False
    found = await embed_items(
        gateway, request, service, wanted, dim=settled.dim, expected=asked.space, single=single
    )
    write = partial(_write, found, settled, many)
    return await write_json(request, write, size=len(wanted) * service.space.dim * 20)


def _write(found: Embedded, settled: Settled, many: bool) -> bytes:
    """Write the whole answer; items with many vectors have lists of lists, since base64 has no shape."""
    if many:
        shown = [vectors.tolist() for vectors in found.vectors]
    else:
        shown = show(found.vectors, settled.kind, packed=settled.packed)
    tokens = sum(answer.cost for answer in found.answers)
    body = {
        "object": "list",
        "model": found.model,
        "space": found.space,
        "data": [
            {"object": "embedding", "index": place, "embedding": each} for place, each in enumerate(shown)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return to_json(body)


def describe_model(gateway: Gateway, name: str, started: int) -> dict[str, Any]:
    """Describe a space as OpenAI lists a model, with its id, modalities and width beside."""
    service = gateway.services[name]
    known = name in gateway.ids
    return {
        "id": name,
        "object": "model",
        "created": started,
        "owned_by": "mmencode",
        "space": gateway.ids.get(name),
        "modalities": list(service.modalities),
        "dimensions": service.space.dim if known else None,
    }
