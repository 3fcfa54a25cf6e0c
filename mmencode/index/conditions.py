"""A condition on rows, in SQL: read whole and found harmless before LanceDB sees it.

LanceDB takes the first whole expression and passes over what follows, so that a mistyped condition means more
rows than it says. In brackets, once these balance, it must take all of it or refuse.
"""

from __future__ import annotations

import re
from itertools import pairwise

from .escaping import escape

LONGEST, DEEPEST, MOST_SUMS = 100_000, 40, 200  # characters; brackets in brackets; arithmetic operators
# Every function whose result is no longer than what it is given, or as long as the condition itself says.
FUNCTIONS = frozenset(
    (
        *("abs", "cast", "ceil", "coalesce", "floor", "nullif", "power", "round", "sign", "sqrt", "try_cast"),
        *("btrim", "char_length", "character_length", "concat", "contains", "ends_with", "left", "length"),
        *("lower", "ltrim", "octet_length", "regexp_like", "right", "rtrim", "starts_with", "strpos"),
        *("substr", "substring", "trim", "upper"),
    )
)
_BEFORE_BRACKETS = frozenset(("and", "or", "not", "in", "between", "like", "ilike", "is", "escape"))
_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
    | (?P<comment>--|/\*)
    | (?P<text>'(?:[^']|'')*')
    | (?P<name>"[^"]+"|`[^`]+`)
    | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<sum>\|\||[+\-*/%])
    | (?P<operator><=|>=|<>|!=|==|[=<>,])
    | (?P<bracket>[()])
    """,
    re.VERBOSE,
)


def condition(where: str) -> str:
    """The condition in brackets, as it goes to LanceDB.

    It may have literals, columns, comparisons, arithmetic, IN, BETWEEN, LIKE, IS, AND, OR, NOT and FUNCTIONS.
    TypeError for what isn't a str; ValueError, which says where, for anything else, for comments, and for
    what would cost too much to read.
    """
    if not isinstance(where, str):
        raise TypeError(f"where is {type(where).__name__}: make it a str with a condition in SQL")
    if len(where) > LONGEST:
        raise _refused(where, f"has {len(where)} characters, and may have {LONGEST}")
    found = _tokens(where)
    if not found:
        raise _refused(where, "is empty")
    _require_balance(where, found)
    _require_known_functions(where, found)
    return f"({escape(where)})"


Token = tuple[str, str, int]  # its kind, its text, and where it begins


def _tokens(where: str) -> list[Token]:
    """All tokens but spaces."""
    found: list[Token] = []
    place, joined = 0, False  # whether a token that no other may touch came just before
    while place < len(where):
        match = _TOKEN.match(where, place)
        kind = "" if match is None else str(match.lastgroup)
        text = where[place] if match is None else match[0]
        if not kind or kind == "comment":
            what = "a quote that isn't closed" if text in "'\"`" else f"{text!r}, which no condition has"
            raise _refused(where, f"has {what}, at character {place + 1}")
        solid = kind in ("text", "name", "number", "word")
        if solid and joined:
            raise _refused(where, f"has {text[:40]!r} right behind something else, at character {place + 1}")
        joined = solid
        if kind != "space":
            found.append((kind, text, place))
        place += len(text)
    return found


def _require_balance(where: str, found: list[Token]) -> None:
    depth = 0
    for kind, text, place in found:
        if kind == "bracket":
            depth += 1 if text == "(" else -1
            if depth < 0:
                raise _refused(where, f"closes a bracket that wasn't opened, at character {place + 1}")
            if depth > DEEPEST:
                raise _refused(where, f"has more than {DEEPEST} brackets in each other")
    if depth:
        raise _refused(where, f"has {depth} bracket{'s' * (depth > 1)} that aren't closed")
    sums = sum(kind == "sum" or text.lower() == "not" for kind, text, _ in found)
    if sums > MOST_SUMS:
        raise _refused(where, f"has {sums} arithmetic operators and NOTs, and may have {MOST_SUMS}")


def _require_known_functions(where: str, found: list[Token]) -> None:
    for (kind, text, place), (_, following, _) in pairwise(found):
        if following == "(" and kind in ("word", "name", "text", "number"):
            word = text.lower()
            if kind != "word" or word not in FUNCTIONS | _BEFORE_BRACKETS:
                allowed = ", ".join(sorted(FUNCTIONS))
                what = f"calls {text[:40]!r}, at character {place + 1}; it may call {allowed}"
                raise _refused(where, what)


def _refused(where: str, what: str) -> ValueError:
    return ValueError(
        f"where is {where!r:.200}, which {what}: make it one condition in SQL, such as "
        "year >= 2010 AND kind = 'red'"
    )
