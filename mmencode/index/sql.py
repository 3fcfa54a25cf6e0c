"""Conditions of SQL made from keys and words whose surrogates are escaped (`embeddings.surrogates`)."""

from __future__ import annotations

from collections.abc import Iterable


def quote(text: str) -> str:
    """Make a SQL string of a text; quotes in it are doubled, so that nothing in it ends the string."""
    return "'" + text.replace("'", "''") + "'"


def is_one_of(column: str, texts: Iterable[str]) -> str:
    """Make the condition that a column is one of these texts; it is false for none."""
    quoted = ", ".join(map(quote, texts))
    return f"{column} IN ({quoted})" if quoted else "false"


def all_of(*conditions: str | None) -> str | None:
    """Join those conditions that aren't None by AND; None where there are none."""
    given = [f"({condition})" for condition in conditions if condition is not None]
    return " AND ".join(given) or None
