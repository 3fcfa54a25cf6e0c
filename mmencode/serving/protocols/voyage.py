"""Voyage's protocol for items of several parts; texts alone go to /v1/embeddings, as OpenAI's do."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any, ClassVar, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import Response

from ...errors import InputError
from ...inputs import Limits
from ...inputs.pictures import count_pixels
from ...plugins.spec import IMAGE, TEXT
from ...spaces.sides import Role
from ..asking import Part, Wanted, media
from ..embedding import MOST, Embedded, count_tokens, embed_items, require_cut_at_end
from ..faults import RequestError
from ..gateway import Gateway
from ..numbers import NumberKind, show
from ..routes import ProtocolRoute, write_json
from .openai import ERRORS

_PIXELS = 560  # of a picture that count as a token in usage, as Voyage documents it


class Content(BaseModel):
    """One part of an item: the field that its type names has it."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    type: Literal["text", "image_url", "image_base64"]
    text: str | None = None
    image_url: str | None = None
    image_base64: str | None = Field(None, description="A data: URI.")


class Input(BaseModel):
    """One item, with its parts in order."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    content: list[Content] = Field(min_length=1)


class MultimodalRequest(BaseModel):
    """A request for vectors, as Voyage's client sends it."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    inputs: list[Input] = Field(min_length=1, max_length=MOST)
    model: str | None = Field(None, description="The name or the id of a space; the first one without it.")
    input_type: Literal["query", "document"] | None = Field(None, description="The side that items are for.")
    truncation: bool | None = Field(None, description="Only true.")
    output_encoding: Literal["base64"] | None = None
    encoding_format: Literal["base64"] | None = Field(None, description="Another name of output_encoding.")
    output_dimension: int | None = Field(None, ge=1, description="One of the widths that the model declares.")
    output_dtype: NumberKind | None = None
    space: str = Field("", description="The id of the space that the vectors must be of, or else 409.")


def routes(gateway: Gateway) -> APIRouter:
    """Make the route /v1/multimodalembeddings."""
    router = APIRouter(route_class=ProtocolRoute, tags=["voyage"])

    @router.post("/v1/multimodalembeddings", responses=ERRORS)
    async def embed(asked: MultimodalRequest, request: Request) -> Response:
        """Turn items of one or several parts into vectors of one space, in order."""
        return await _answer(gateway, asked, request)

    return router


def read_items(asked: MultimodalRequest) -> list[Wanted]:
    """Make the items of a request; RequestError, which names the place, for a part of another shape."""
    role: Role = asked.input_type or ""
    return [
        Wanted(
            tuple(_read_part(part, f"inputs.{place}.content.{row}") for row, part in enumerate(each.content)),
            role,
        )
        for place, each in enumerate(asked.inputs)
    ]


def _read_part(part: Content, where: str) -> Part:
    given = {name: value for name, value in part if name != "type" and value is not None}
    if list(given) != [part.type]:
        raise RequestError(
            f"{where} hasn't the one value that its type says", status=422, code="invalid_input", param=where
        )
    value = given[part.type]
    return Part(TEXT, value) if part.type == "text" else media(IMAGE, value)


async def _answer(gateway: Gateway, asked: MultimodalRequest, request: Request) -> Response:
    service = gateway.choose(request, asked.model)
    require_cut_at_end(asked.truncation is not False, "truncation")
    wanted = read_items(asked)
    pixels = Pixels(service.space.limits)
    found = await embed_items(
        gateway, request, service, wanted, dim=asked.output_dimension, expected=asked.space, look=pixels.look
    )
    tokens = await count_tokens(gateway, service, wanted, found.answers)
    packed = "base64" in (asked.output_encoding, asked.encoding_format)
    write = partial(_write, found, asked.output_dtype or "float", packed, tokens, pixels.count)
    return await write_json(request, write, size=len(found.vectors) * service.space.dim * 20)


class Pixels:
    """Counts the pixels of the pictures that a request has, as their files' headers state them."""

    def __init__(self, limits: Limits) -> None:
        self.count: int = 0
        self._limits = limits
        self._lock = threading.Lock()

    def look(self, part: Part, value: Any) -> None:
        """Count a part that has been read, in any thread; what isn't readable is refused elsewhere."""
        if part.modality != IMAGE:
            return
        try:
            found = count_pixels(value, self._limits)
        except InputError:
            return
        with self._lock:
            self.count += found


def _write(found: Embedded, kind: NumberKind, packed: bool, tokens: int, pixels: int) -> bytes:
    rows = show(found.vectors, kind, packed=packed)
    body = {
        "object": "list",
        "data": [{"object": "embedding", "embedding": row, "index": place} for place, row in enumerate(rows)],
        "model": found.model,
        "space": found.space,
        "usage": {
            "text_tokens": tokens,
            "image_pixels": pixels,
            "video_pixels": 0,  # which the client reads; videos aren't taken, since nothing counts theirs
            "total_tokens": tokens + pixels // _PIXELS,
        },
    }
    return to_json(body)
