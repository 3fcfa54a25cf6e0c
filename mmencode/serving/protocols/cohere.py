"""Cohere's protocol for embeddings, version 2, and version 1 that its older client speaks."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any, ClassVar, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import Response

from ...plugins.spec import IMAGE, TEXT
from ...spaces.sides import Role
from ..asking import Part, Wanted, media
from ..embedding import MOST, Embedded, count_tokens, embed_items, require_cut_at_end, texts_of
from ..faults import RequestError
from ..gateway import Gateway
from ..numbers import NumberKind, show
from ..routes import ProtocolRoute, write_json
from .openai import ERRORS

InputType = Literal["search_document", "search_query", "classification", "clustering", "image"]
Kind = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]
_ROLES: dict[str, Role] = {"search_document": "document", "search_query": "query"}


class Content(BaseModel):
    """One part of an item."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: str | dict[str, str] | None = Field(None, description="{url: a data: URI}")


class Input(BaseModel):
    """One item of several parts."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    content: list[Content] = Field(min_length=1)


class EmbedRequest(BaseModel):
    """A request for vectors, as Cohere's client sends it; one of texts, images and inputs has the items."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(None, description="The name or the id of a space; the first one without it.")
    texts: list[str] | None = Field(None, min_length=1, max_length=MOST)
    images: list[str] | None = Field(None, min_length=1, max_length=MOST, description="data: URIs")
    inputs: list[Input] | None = Field(None, min_length=1, max_length=MOST)
    input_type: InputType | None = Field(
        None, description="search_query and search_document choose the side."
    )
    embedding_types: list[Kind] | None = Field(None, min_length=1)
    output_dimension: int | None = Field(None, ge=1, description="One of the widths that the model declares.")
    truncate: Literal["NONE", "START", "END"] | None = Field(None, description="Only END.")
    max_tokens: int | None = Field(None, ge=1, description="Not taken: the model has a length of its own.")
    priority: int | None = Field(None, description="Without a meaning here.")
    space: str = Field("", description="The id of the space that the vectors must be of, or else 409.")


def routes(gateway: Gateway) -> APIRouter:
    """Make the routes /v2/embed and /v1/embed."""
    router = APIRouter(route_class=ProtocolRoute, tags=["cohere"])

    @router.post("/v2/embed", responses=ERRORS)
    async def embed(asked: EmbedRequest, request: Request) -> Response:
        """Turn texts, pictures, or items of several parts into vectors of one space, in order."""
        return await _answer(gateway, asked, request, by_type=True)

    @router.post("/v1/embed", responses=ERRORS)
    async def embed_v1(asked: EmbedRequest, request: Request) -> Response:
        """Turn items into vectors as /v2/embed does; without embedding_types they are a plain list."""
        return await _answer(gateway, asked, request, by_type=asked.embedding_types is not None)

    return router


def read_items(asked: EmbedRequest) -> list[Wanted]:
    """Make the items of a request; RequestError unless exactly one of its three fields has them."""
    role = _ROLES.get(asked.input_type or "", "")
    given = [each is not None for each in (asked.texts, asked.images, asked.inputs)]
    if sum(given) != 1:
        raise RequestError(
            f"the request has {sum(given)} of texts, images and inputs, and one of them has the items",
            status=422,
            code="invalid_input",
            param="texts",
        )
    if asked.texts is not None:
        return texts_of(asked.texts, role)
    if asked.images is not None:
        return [Wanted((media(IMAGE, image),), role) for image in asked.images]
    inputs = asked.inputs or []
    return [
        Wanted(
            tuple(_read_part(part, f"inputs.{place}.content.{row}") for row, part in enumerate(each.content)),
            role,
        )
        for place, each in enumerate(inputs)
    ]


def _read_part(part: Content, where: str) -> Part:
    if part.type == "text" and part.text is not None and part.image_url is None:
        return Part(TEXT, part.text)
    url = part.image_url.get("url") if isinstance(part.image_url, dict) else part.image_url
    if part.type == "image_url" and url is not None and part.text is None:
        return media(IMAGE, url)
    raise RequestError(
        f"{where} hasn't the one value that its type says", status=422, code="invalid_input", param=where
    )


async def _answer(gateway: Gateway, asked: EmbedRequest, request: Request, *, by_type: bool) -> Response:
    service = gateway.choose(request, asked.model)
    require_cut_at_end(asked.truncate in (None, "END") and asked.max_tokens is None, "truncate")
    wanted = read_items(asked)
    found = await embed_items(
        gateway, request, service, wanted, dim=asked.output_dimension, expected=asked.space
    )
    kinds: list[Kind] = list(dict.fromkeys(asked.embedding_types or ["float"]))
    images = sum(part.modality == IMAGE for each in wanted for part in each.parts)
    units = {"input_tokens": await count_tokens(gateway, service, wanted, found.answers), "images": images}
    write = partial(_write, found, kinds, units, by_type)
    return await write_json(request, write, size=len(found.vectors) * service.space.dim * 20 * len(kinds))


def _write(found: Embedded, kinds: list[Kind], units: dict[str, int], by_type: bool) -> bytes:
    shown: dict[str, list[Any]] = {}
    for kind in kinds:
        number: NumberKind = "float" if kind == "base64" else kind
        shown[kind] = show(found.vectors, number, packed=kind == "base64")
    body = {
        "id": str(uuid.uuid4()),
        "embeddings": shown if by_type else shown["float"],
        "response_type": "embeddings_by_type" if by_type else "embeddings_floats",
        "model": found.model,
        "space": found.space,
        "meta": {"api_version": {"version": "2" if by_type else "1"}, "billed_units": units},
    }
    return to_json(body)
