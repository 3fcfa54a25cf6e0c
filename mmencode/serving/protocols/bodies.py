"""Errors in words alone, as Hugging Face's and Weaviate's clients read them."""

from __future__ import annotations

from typing import Any, ClassVar

from ..faults import RequestError
from ..routes import ErrorBody, ProtocolRoute
from .openai import MEANINGS

_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"anyOf": [{"type": "string"}, {"type": "object"}]},
        "code": {"type": "string"},
        "param": {"type": ["string", "null"]},
        "items": {"type": "array", "items": {"type": "object"}},
        "space": {"type": "string"},
    },
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": meaning, "content": {"application/json": {"schema": _SCHEMA}}}
    for status, meaning in MEANINGS.items()
}


def plain_body(error: RequestError, space: str = "") -> dict[str, Any]:
    """Make the body of an error whose `error` is a string, with the items at fault and the space beside."""
    body: dict[str, Any] = {"error": error.message, "code": error.code, "param": error.param or None}
    if error.items:
        body["items"] = [
            {"index": item.index, "message": item.message, "code": item.code} for item in error.items
        ]
    return body | {"space": space} if space else body


class PlainRoute(ProtocolRoute):
    """A route whose errors are words alone."""

    error_body: ClassVar[ErrorBody] = staticmethod(plain_body)
