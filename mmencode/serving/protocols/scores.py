"""Scores of pairs, in the shape of vLLM's /score."""

from __future__ import annotations

import time
import uuid
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import Response

from ...plugins.spec import TEXT
from ...spaces.sides import Role
from ..asking import Part, Wanted
from ..embedding import require_cut_at_end
from ..faults import RequestError
from ..gateway import Gateway
from ..routes import ProtocolRoute
from ..scoring import Scored, score_items
from .openai import ERRORS
from .shapes import bad_input, read_parts

_SIDE: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "object"}, {"type": "array", "minItems": 1}]}
_FIRST, _SECOND = ("text_1", "queries", "data_1"), ("text_2", "documents", "data_2")


class ScoreRequest(BaseModel):
    """Two sides of pairs, as vLLM's clients send them: one item to each of the others, or as many on both.

    An item is a text, or an object with `content`, a list of parts as in /v1/embeddings.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(None, description="The name or the id of a space; the first one without it.")
    text_1: Any = Field(None, description="Queries.", json_schema_extra=_SIDE)
    text_2: Any = Field(None, description="Documents.", json_schema_extra=_SIDE)
    queries: Any = Field(None, description="Another name of text_1.", json_schema_extra=_SIDE)
    documents: Any = Field(None, description="Another name of text_2.", json_schema_extra=_SIDE)
    data_1: Any = Field(None, description="Another name of text_1.", json_schema_extra=_SIDE)
    data_2: Any = Field(None, description="Another name of text_2.", json_schema_extra=_SIDE)
    truncate_prompt_tokens: int | None = Field(None, description="Not taken.")
    user: str | None = Field(None, description="Without a meaning here.")
    priority: int | None = Field(None, description="Without a meaning here.")
    space: str = Field("", description="The id of the space that the vectors must be of, or else 409.")


def routes(gateway: Gateway) -> APIRouter:
    """Make the routes /score and /v1/score, which are the same."""
    router = APIRouter(route_class=ProtocolRoute, tags=["score"])

    @router.post("/score", responses=ERRORS)
    @router.post("/v1/score", responses=ERRORS, include_in_schema=False)
    async def score(asked: ScoreRequest, request: Request) -> Response:
        """Score pairs by the similarity of their vectors."""
        return await _answer(gateway, asked, request)

    return router


def read_side(gateway: Gateway, asked: ScoreRequest, names: tuple[str, ...], role: Role) -> list[Wanted]:
    """Make the items of one side, which one of several fields has; RequestError for another shape."""
    given = [(name, getattr(asked, name)) for name in names if getattr(asked, name) is not None]
    if len(given) != 1:
        raise bad_input(
            f"the request has {len(given)} of {', '.join(names)}, and one of them is needed", names[0]
        )
    name, value = given[0]
    if isinstance(value, dict) and isinstance(value.get("content"), list):
        value = value["content"]
        if not all(isinstance(each, dict) and "content" in each for each in value):  # vLLM: each part an item
            return [Wanted((part,), role) for part in read_parts(value, f"{name}.content")]
    items = value if isinstance(value, list) else [value]
    gateway.require_few(len(items))
    if not items:
        raise bad_input(f"{name} is empty", name)
    return [_read_item(each, role, f"{name}.{place}") for place, each in enumerate(items)]


def _read_item(given: Any, role: Role, where: str) -> Wanted:
    if isinstance(given, str):
        return Wanted((Part(TEXT, given),), role)
    if isinstance(given, dict) and isinstance(given.get("content"), list) and len(given) == 1:
        return Wanted(read_parts(given["content"], f"{where}.content"), role)
    raise bad_input(f"{where} is neither a string nor an object with a list of parts, `content`", where)


async def _answer(gateway: Gateway, asked: ScoreRequest, request: Request) -> Response:
    service = gateway.choose(request, asked.model)
    require_cut_at_end(asked.truncate_prompt_tokens in (None, -1), "truncate_prompt_tokens")
    queries = read_side(gateway, asked, _FIRST, "query")
    documents = read_side(gateway, asked, _SECOND, "document")
    in_pairs = len(queries) > 1
    if in_pairs and len(queries) != len(documents):
        raise RequestError(
            f"{len(queries)} and {len(documents)} items make no pairs",
            status=400,
            code="invalid_input",
            param="text_1",
            remedy="send one query, or as many as documents",
        )
    found = await score_items(
        gateway, request, service, queries, documents, expected=asked.space, in_pairs=in_pairs
    )
    return Response(await gateway.run(_write, found), media_type="application/json")


def _write(found: Scored) -> bytes:
    rows = [
        {"index": place, "object": "score", "score": score}
        for place, score in enumerate(found.scores[0].tolist())
    ]
    return to_json(
        {
            "id": f"score-{uuid.uuid4().hex}",
            "object": "list",
            "created": int(time.time()),
            "model": found.model,
            "space": found.space,
            "data": rows,
            "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
        }
    )
