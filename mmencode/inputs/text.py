"""Text: a `str` that UTF-8 can hold, and of which something is left to encode."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from ..errors import InputError
from .limits import Limits, raising
from .source import describe

# Unicode's categories of what has no shape of its own: controls, formats, and separators.
_SHAPELESS = frozenset(("Cc", "Cf", "Zs", "Zl", "Zp"))
# Characters of other categories that are blank or ignored by default (Default_Ignorable_Code_Point, and
# braille's pattern without dots), and the formats that have a shape, signs of Arabic, Syriac and Kaithi.
_IGNORED = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)
_SHAPED = re.compile("[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd]")


def read(item: Any, limits: Limits) -> str:
    """The text itself, checked: not over `limits.characters`, no lone surrogates, and something to see in it.

    Blank are texts of nothing but white space and characters that don't show: zero-width spaces, byte order
    marks, soft hyphens, tags, variation selectors, NUL. Among others these stay, as joiners in emoji need.
    """
    if not isinstance(item, str):
        raise InputError(
            f"text is a str, not {type(item).__name__}",
            source=describe(item) if not isinstance(item, bytes) else "bytes",
            remedy="decode bytes first: item.decode()" if isinstance(item, bytes) else "pass a str",
        )
    if len(item) > limits.characters:
        raise InputError(
            f"the text has {len(item)} characters, and the limit is {limits.characters}",
            source=_shown(item),
            remedy=f"split it, or {raising('characters')}",
            fault="limit",
        )
    if not any(map(_shows, item)):
        raise _blank("the text is blank", item)
    try:
        item.encode("utf-8")
    except UnicodeEncodeError as cause:
        raise InputError(
            f"the text has a lone surrogate at position {cause.start}, which UTF-8 can't hold",
            source=_shown(item),
            remedy='clean it: text.encode("utf-8", "replace").decode()',
        ) from cause
    return item


def require_tokens(count: int, text: str) -> None:
    """Raise InputError when a tokenizer left nothing of a text: for `preprocess` of text encoders.

    `count` is how many tokens there are besides those that the tokenizer adds to every text.
    """
    if count < 1:
        raise _blank("the text is blank: the tokenizer leaves nothing of it", text)


def _blank(fact: str, text: str) -> InputError:
    return InputError(fact, source=_shown(text), remedy="leave it out; it has no meaning to encode")


def _shown(text: str) -> str:
    return f"text {text[:40]!r}{'...' if len(text) > 40 else ''}"


def _shows(character: str) -> bool:
    if unicodedata.category(character) in _SHAPELESS:
        return _SHAPED.match(character) is not None
    return _IGNORED.match(character) is None
