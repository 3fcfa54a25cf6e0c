"""Suggestions for a misspelt name, for the remedy of an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches

_MOST = 3  # names that are suggested
_SIMILARITY = 0.5  # ratio of difflib from which a name is suggested


def did_you_mean(name: str, known: Iterable[str], spell: Callable[[str], str] = str) -> str:
    """The question `did you mean a or b?` about the known names most like this one; "" when none is.

    `spell` gives the words that stand for a known name in the question.
    """
    near = get_close_matches(name, list(known), n=_MOST, cutoff=_SIMILARITY)
    return f"did you mean {' or '.join(map(spell, near))}?" if near else ""
