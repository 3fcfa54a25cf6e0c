"""OpenAI's protocol for embeddings, with the fields by which other servers add images and sounds."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import JSONResponse, Response

from ...embeddings.array_types import Vectors
from ...plugins.spec import TEXT
from ..asking import choose_modality
from ..exchange import Exchange
from ..faults import RequestError
from ..gateway import Gateway
from ..routes import ProtocolRoute, write_json
from ..service import Answer
from ..widths import cut, id_of_width, require_width
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


class EmbeddingRequest(BaseModel):
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
    if asked.messages is not None:
        wanted = [read_messages(asked.messages, asked.role)]
    else:
        wanted = read_input(asked.input, asked.modality, asked.role)
    space, dim = service.space, asked.dimensions
    if dim is not None:
        modalities = dict.fromkeys(choose_modality(space, each) for each in wanted)
        kinds = [(modality, asked.role) for modality in modalities]
        await gateway.run(require_width, space, kinds, dim)
    full = gateway.ids[space.name]
    gateway.require_space(request, id_of_width(full, space.dim, dim), expected=asked.space)
    answers = await gateway.answer(request, service, wanted)
    gateway.require_all(answers)
    shown = Shown(space.name, Exchange.of(request.scope).space, asked.encoding_format, dim)
    return await write_json(request, partial(shown.write, answers), size=len(answers) * space.dim * 20)


@dataclass(frozen=True, slots=True)
class Shown:
    """The way in which vectors are shown: of which space, in which format, and how wide."""

    model: str
    space: str
    format: Literal["float", "base64"]
    dim: int | None

    def write(self, answers: Sequence[Answer]) -> bytes:
        """Write the whole answer; vectors are cut here."""
        vectors = [answer.vector for answer in answers if answer.vector is not None]
        if self.dim is not None and vectors[0].shape[-1] != self.dim:
            vectors = cut(vectors, self.space, self.dim)
        tokens = sum(answer.cost for answer in answers)
        head = {"object": "list", "model": self.model, "space": self.space}
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        rows = b",".join(self._row(place, vector) for place, vector in enumerate(vectors))
        return b"".join((to_json(head)[:-1], b',"data":[', rows, b'],"usage":', to_json(usage), b"}"))

    def _row(self, place: int, vector: Vectors) -> bytes:
        return to_json({"object": "embedding", "index": place, "embedding": self._show(vector)})

    def _show(self, vector: Vectors) -> Any:
        """Show one vector `[dim]`, or `[t, dim]` as lists in either format, since base64 has no shape."""
        if self.format == "float" or vector.ndim > 1:
            return vector.tolist()
        return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()


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
