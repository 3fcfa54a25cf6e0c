"""Errors of requests as clients see them: a status, words that hold nothing of the input, and an index."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import (
    ClosedError,
    InputError,
    MmencodeError,
    SpaceMismatchError,
    UnknownModalityError,
    WidthError,
)
from .refusals import Refusal

_QUOTED = re.compile(r"(?<!\w)b?['\"].*['\"](?!\w)", re.DOTALL)  # from the first quote to the last one
_HEX = re.compile(r"\b(?:[0-9a-f]{2} ){2,}[0-9a-f]{2}\b")
_SHOWN = 100  # items of a request whose errors are listed
_STATUSES = {"time": 504, "process": 503}  # by the fault of an item; others are the item's: 422


@dataclass(frozen=True, slots=True)
class ItemFault:
    """The reason for which one item of a request has no vector."""

    index: int
    message: str
    code: str
    status: int


class RequestError(Refusal):
    """A request that can't be answered as it is.

    status   of HTTP
    code     a word for programs: "invalid_json", "unknown_field", "item_content"
    param    the field of the request that is at fault, "" for none
    items    the items that are at fault
    headers  of the answer
    """

    items: tuple[ItemFault, ...]
    headers: dict[str, str]

    def __init__(
        self,
        fact: str,
        *,
        status: int,
        code: str,
        remedy: str = "",
        param: str = "",
        items: Sequence[ItemFault] = (),
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(fact, remedy=remedy, retry_after=retry_after)
        self.status = status
        self.code = code
        self.param = param
        self.items = tuple(items)
        self.headers = dict(headers or {})

    @property
    def message(self) -> str:
        """The words for people, on one line."""
        return f"{self.fact}; {self.remedy}" if self.remedy else self.fact

    @property
    def kind(self) -> str:
        """The `type` of OpenAI's errors."""
        match self.status:
            case 401:
                return "authentication_error"
            case 429:
                return "rate_limit_error"
            case status if status >= 500:
                return "server_error"
        return "invalid_request_error"


def item_fault(error: MmencodeError, index: int) -> ItemFault:
    """Make the fault of one item: its words without anything that the item holds."""
    fault = error.fault if isinstance(error, InputError) else "encoder"
    remedy = error.remedy if isinstance(error, InputError) and fault in ("content", "access") else ""
    message = "; ".join(filter(None, (conceal(error.fact), conceal(remedy))))
    return ItemFault(index, message, f"item_{fault}", _STATUSES.get(fault, 422))


def conceal(words: str) -> str:
    """Leave out of an error's words whatever they quote, which may be the input's."""
    return _HEX.sub("...", _QUOTED.sub("...", " ".join(words.split())))


def fail_items(faults: Sequence[ItemFault], count: int) -> RequestError:
    """Make the error of a request of `count` items in a protocol that has no place for errors of items."""
    first = faults[0]
    others = f" (and {len(faults) - 1} others)" if len(faults) > 1 else ""
    return RequestError(
        f"item {first.index} of {count}{others} can't be encoded: {first.message}",
        status=first.status,
        code=first.code,
        param="input",
        items=faults[:_SHOWN],
        retry_after=1.0 if first.status == 503 else None,
    )


def as_request_error(error: MmencodeError) -> RequestError:
    """Turn any error of mmencode into that of a request; those of a server's own state tell nothing of it."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, Refusal):
        code = re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).lower()
        return RequestError(
            error.fact, status=error.status, code=code, remedy=error.remedy, retry_after=error.retry_after
        )
    if isinstance(error, UnknownModalityError):
        return RequestError(
            "the space has no encoder for this modality", status=400, code="unknown_modality", param="input"
        )
    if isinstance(error, SpaceMismatchError):
        return RequestError(conceal(error.fact), status=409, code="space_mismatch")
    if isinstance(error, WidthError):
        return RequestError(conceal(error.fact), status=400, code="unknown_width", param="dimensions")
    if isinstance(error, InputError):
        fault = item_fault(error, error.index or 0)
        return RequestError(fault.message, status=fault.status, code=fault.code, items=(fault,))
    if isinstance(error, ClosedError):
        return RequestError("the server stops", status=503, code="stopped", retry_after=1.0)
    return RequestError("the server failed; its log has the cause", status=500, code="server_error")


def openai_body(error: RequestError, space: str = "") -> dict[str, Any]:
    """Make the body of an error as OpenAI's API has it, with the faults of items and the space beside.

    `detail`, which Voyage's client reads, and `message`, which Cohere's does, say the same.
    """
    body: dict[str, Any] = {
        "message": error.message,
        "detail": error.message,
        "error": {
            "message": error.message,
            "type": error.kind,
            "param": error.param or None,
            "code": error.code,
        },
    }
    if error.items:
        body["error"]["items"] = [
            {"index": item.index, "message": item.message, "code": item.code} for item in error.items
        ]
    if space:
        body["space"] = space
    return body
