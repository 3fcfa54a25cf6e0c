"""Text: a `str` that UTF-8 can hold."""

from __future__ import annotations

from typing import Any

from ..errors import InputError
from .limits import Limits, raising
from .source import describe


def read(item: Any, limits: Limits) -> str:
    """The text itself, checked: not blank, not over `limits.characters`, no lone surrogates."""
    if not isinstance(item, str):
        raise InputError(
            f"text is a str, not {type(item).__name__}",
            source=describe(item) if not isinstance(item, bytes) else "bytes",
            remedy="decode bytes first: item.decode()" if isinstance(item, bytes) else "pass a str",
        )
    source = f"text {item[:40]!r}{'...' if len(item) > 40 else ''}"
    if not item.strip():
        raise InputError(
            "the text is blank", source=source, remedy="leave it out; it has no meaning to encode"
        )
    if len(item) > limits.characters:
        raise InputError(
            f"the text has {len(item)} characters, and the limit is {limits.characters}",
            source=source,
            remedy=f"split it, or {raising('characters')}",
            fault="limit",
        )
    try:
        item.encode("utf-8")
    except UnicodeEncodeError as cause:
        raise InputError(
            f"the text has a lone surrogate at position {cause.start}, which UTF-8 can't hold",
            source=source,
            remedy='clean it: text.encode("utf-8", "replace").decode()',
        ) from cause
    return item
