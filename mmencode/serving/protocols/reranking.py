"""Reranking by similarity, in the shapes of Cohere, Jina, Voyage and text-embeddings-inference."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import Response

from ...plugins.spec import IMAGE, TEXT
from ...spaces.sides import Role
from ..asking import Part, Wanted, media
from ..embedding import MOST, require_cut_at_end, texts_of
from ..faults import RequestError
from ..gateway import Gateway
from ..routes import ProtocolRoute
from ..scoring import Scored, rank, score_items
from .openai import ERRORS
from .shapes import bad_input

_ITEM: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "object"}]}


class RerankRequest(BaseModel):
    """A query and the items that are to be ranked for it, as clients of four protocols send them."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(None, description="The name or the id of a space; the first one without it.")
    query: Any = Field(description="A text, or {text} or {image} (Jina).", json_schema_extra=_ITEM)
    documents: list[Any] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        description="Texts, or objects with text or image.",
        json_schema_extra={"items": _ITEM},
    )
    texts: list[str] | None = Field(
        None, min_length=1, max_length=MOST, description="Their name in text-embeddings-inference."
    )
    top_n: int | None = Field(None, ge=1, description="The most results (Cohere, Jina).")
    top_k: int | None = Field(None, ge=1, description="The most results (Voyage).")
    return_documents: bool | None = Field(None, description="Only false: nothing is sent back.")
    return_text: bool | None = Field(None, description="Only false, as return_documents.")
    truncate: bool | None = Field(None, description="Only true.")
    truncation: bool | None = Field(None, description="Only true; who sends it reads results from `data`.")
    raw_scores: bool | None = Field(None, description="Without a meaning: scores are similarities.")
    max_tokens_per_doc: int | None = Field(None, description="Not taken.")
    priority: int | None = Field(None, description="Without a meaning here.")
    user: str | None = Field(None, description="Without a meaning here.")
    space: str = Field("", description="The id of the space that the vectors must be of, or else 409.")


def routes(gateway: Gateway) -> APIRouter:
    """Make the routes /rerank, /v1/rerank and /v2/rerank, which are the same."""
    router = APIRouter(route_class=ProtocolRoute, tags=["rerank"])

    @router.post("/rerank", responses=ERRORS)
    @router.post("/v1/rerank", responses=ERRORS, include_in_schema=False)
    @router.post("/v2/rerank", responses=ERRORS, include_in_schema=False)
    async def rerank(asked: RerankRequest, request: Request) -> Response:
        """Rank items for a query by the similarity of their vectors."""
        return await _answer(gateway, asked, request)

    return router


def read_query(asked: RerankRequest) -> Wanted:
    """Make an item of the query; RequestError for another shape."""
    return read_item(asked.query, "query", "query")


def read_documents(asked: RerankRequest) -> list[Wanted]:
    """Make items of what is to be ranked; RequestError, which names the place, for another shape."""
    if (asked.documents is None) == (asked.texts is None):
        raise bad_input("the request has neither documents nor texts, or both", "documents")
    if asked.texts is not None:
        return texts_of(asked.texts, "document")
    documents = asked.documents or []
    return [read_item(each, "document", f"documents.{place}") for place, each in enumerate(documents)]


def read_item(given: Any, role: Role, where: str) -> Wanted:
    """Make an item of a text, or of an object with a text or a picture; RequestError for anything else."""
    if isinstance(given, str):
        return Wanted((Part(TEXT, given),), role)
    if isinstance(given, dict) and len(given) == 1:
        ((name, value),) = given.items()
        if name == TEXT and isinstance(value, str):
            return Wanted((Part(TEXT, value),), role)
        if name in (IMAGE, "url") and isinstance(value, str):
            return Wanted((media(IMAGE, value),), role)
    raise bad_input(f"{where} is neither a string nor an object with one of text and image", where)


async def _answer(gateway: Gateway, asked: RerankRequest, request: Request) -> Response:
    service = gateway.choose(request, asked.model)
    for name in ("truncate", "truncation"):
        require_cut_at_end(getattr(asked, name) is not False, name)
    require_cut_at_end(asked.max_tokens_per_doc is None, "max_tokens_per_doc")
    if asked.return_documents or asked.return_text:
        raise RequestError(
            "this server sends nothing back of what it gets",
            status=422,
            code="unsupported_field",
            param="return_documents" if asked.return_documents else "return_text",
            remedy="leave it out: `index` says which of the documents a result is",
        )
    gateway.require_few(len(asked.documents or asked.texts or ()))
    query, documents = read_query(asked), read_documents(asked)
    found = await score_items(gateway, request, service, [query], documents, expected=asked.space)
    most = asked.top_n if asked.top_n is not None else asked.top_k
    content = await gateway.run(lambda: to_json(_show(asked, found, rank(found.scores[0], most))))
    return Response(content, media_type="application/json")


def _show(asked: RerankRequest, found: Scored, ranked: list[tuple[int, float]]) -> Any:
    """Show results as the client reads them: text-embeddings-inference has a bare list, Voyage `data`."""
    if asked.texts is not None:
        return [{"index": place, "score": score} for place, score in ranked]
    rows = [{"index": place, "relevance_score": score} for place, score in ranked]
    head = {"id": str(uuid.uuid4()), "model": found.model, "space": found.space}
    usage = {"total_tokens": found.tokens}
    if "truncation" in asked.model_fields_set:
        return {"object": "list", **head, "data": rows, "usage": usage}
    meta = {"api_version": {"version": "2"}, "tokens": {"input_tokens": found.tokens}}
    return {**head, "results": rows, "usage": usage, "meta": meta}
