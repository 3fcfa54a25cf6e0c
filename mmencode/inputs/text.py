"""The reader of text takes a `str` that UTF-8 can hold and that isn't blank."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from ..errors import InputError
from .limits import Limits, limit_remedy
from .source import describe

# Unicode's general categories of invisible characters: controls, formats, and separators.
_INVISIBLE = frozenset(("Cc", "Cf", "Zs", "Zl", "Zp"))
# Invisible characters of other categories (Default_Ignorable_Code_Point, and the blank Braille pattern), and
# the visible ones among the formats: signs of Arabic, Syriac and Kaithi.
_IGNORED = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)
_VISIBLE_FORMATS = re.compile("[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd]")


def read(item: Any, limits: Limits) -> str:
    """Return the text itself if it isn't longer than `limits.characters`, blank, or invalid as UTF-8.

    A text is blank when it has nothing but white space and invisible characters: zero-width spaces, byte
    order marks, soft hyphens, tags, variation selectors, NUL. Beside visible ones these are kept, as emoji
    need their joiners.
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
            source=_excerpt(item),
            remedy=f"split it, or {limit_remedy('characters')}",
            fault="limit",
        )
    if not any(map(_is_visible, item)):
        raise _blank_error("the text is blank", item)
    try:
        item.encode("utf-8")
    except UnicodeEncodeError as cause:
        raise InputError(
            f"the text has a lone surrogate at position {cause.start}, which UTF-8 can't hold",
            source=_excerpt(item),
            remedy='clean it: text.encode("utf-8", "replace").decode()',
        ) from cause
    return item


def require_tokens(count: int, text: str) -> None:
    """Raise InputError when a tokenizer left nothing of a text; text encoders call it in `preprocess`.

    `count` is the number of tokens without the special ones that the tokenizer adds to every text.
    """
    if count < 1:
        raise _blank_error("the text is blank: the tokenizer leaves nothing of it", text)


def _blank_error(fact: str, text: str) -> InputError:
    return InputError(fact, source=_excerpt(text), remedy="leave it out; it has no meaning to encode")


def _excerpt(text: str) -> str:
    return f"text {text[:40]!r}{'...' if len(text) > 40 else ''}"


def _is_visible(character: str) -> bool:
    if unicodedata.category(character) in _INVISIBLE:
        return _VISIBLE_FORMATS.match(character) is not None
    return _IGNORED.match(character) is None
