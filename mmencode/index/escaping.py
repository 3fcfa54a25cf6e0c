"""Keys and words as LanceDB holds them, which are UTF-8, and as its SQL quotes them."""

from __future__ import annotations

from collections.abc import Iterable

from ..embeddings.names import escape as escape
from ..embeddings.names import unescape as unescape


def literal(text: str) -> str:
    """An escaped text as a string of SQL; quotes in it are doubled, so that nothing in it ends it."""
    return "'" + text.replace("'", "''") + "'"


def one_of(column: str, texts: Iterable[str]) -> str:
    """SQL for rows whose column is one of these escaped texts; false for none."""
    listed = ", ".join(map(literal, texts))
    return f"{column} IN ({listed})" if listed else "false"


def both(*conditions: str | None) -> str | None:
    """SQL for what meets all conditions that are given, or None."""
    given = [f"({condition})" for condition in conditions if condition is not None]
    return " AND ".join(given) or None
