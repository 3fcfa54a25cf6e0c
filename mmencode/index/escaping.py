"""Keys and words as LanceDB holds them, which are UTF-8, and as its SQL quotes them.

File names needn't be UTF-8; Python then has lone surrogates in their place. Each becomes U+FDD0, which is no
character, and four hexadecimal digits; so does U+FDD0 itself. All other text stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_MARK = "\ufdd0"
_UNHELD = re.compile("[\ud800-\udfff\ufdd0]")
_ESCAPED = re.compile(_MARK + "([0-9a-f]{4})")


def escape(text: str) -> str:
    """The same in text that UTF-8 can hold; `unescape` gives it back."""
    if text.isascii():
        return text
    return _UNHELD.sub(lambda found: f"{_MARK}{ord(found[0]):04x}", text)


def unescape(text: str) -> str:
    """What `escape` was given."""
    if _MARK not in text:
        return text
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)


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
