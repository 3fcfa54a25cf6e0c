"""File names that aren't UTF-8, as text that is.

Python has lone surrogates in the place of what isn't UTF-8 in a name. Each becomes U+FDD0, which is no
character, and four hexadecimal digits; so does U+FDD0 itself. All other text stays as it is.
"""

from __future__ import annotations

import re

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
