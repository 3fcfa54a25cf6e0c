"""Lone surrogates in text, escaped so that UTF-8 can hold it.

A file name that isn't UTF-8 reaches Python as a str with lone surrogates (PEP 383), which no UTF-8 column of
Arrow or LanceDB can hold. Each becomes U+FDD0, which is no character, and four hexadecimal digits; so does
U+FDD0 itself. All other text stays as it is.
"""

from __future__ import annotations

import re

_MARK = "\ufdd0"
_UNHELD = re.compile("[\ud800-\udfff\ufdd0]")
_ESCAPED = re.compile(_MARK + "([0-9a-f]{4})")


def escape_surrogates(text: str) -> str:
    """Escape lone surrogates, so that UTF-8 can hold the text; `unescape_surrogates` reverses it."""
    if text.isascii():
        return text
    return _UNHELD.sub(lambda found: f"{_MARK}{ord(found[0]):04x}", text)


def unescape_surrogates(text: str) -> str:
    """Turn the escapes that `escape_surrogates` wrote into lone surrogates again."""
    if _MARK not in text:
        return text
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
