"""The check of a condition on rows, in SQL, which is parsed whole and bounded before LanceDB sees it.

LanceDB parses the first complete expression and ignores the rest, so that a mistyped condition would match
more rows than it says; in balanced brackets it must parse all of it or refuse. Long nesting or chaining
overflows LanceDB's stack, which ends the process, and some functions make huge values of small ones. So a
condition may use only a small vocabulary, and only so much of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..embeddings.surrogates import escape_surrogates

LONGEST = 100_000  # characters
DEEPEST = 16  # brackets in brackets
MOST_JOINED = 500  # ANDs and ORs, and calls of functions
MOST_PATTERNS = 16  # calls of regexp_like, each of which may take milliseconds per row
MOST_SUMS = 32  # arithmetic operators: parsing a chain of them takes time cubic in their number
MOST_CHAINED = 8  # comparisons and NOTs in a row, without AND, OR or a comma between
LONGEST_PART = 1000  # characters of a string in a function or after LIKE
# Functions whose result is no longer than their arguments.
FUNCTIONS = frozenset(
    (
        *("abs", "cast", "coalesce", "ifnull", "isnan", "nullif", "nvl", "power", "round", "sqrt", "trunc"),
        *("btrim", "char_length", "character_length", "contains", "ends_with", "left", "length", "lower"),
        *("ltrim", "octet_length", "regexp_like", "right", "rtrim", "starts_with", "strpos", "try_cast"),
        "upper",
    )
)
_TYPES = frozenset(("bigint", "boolean", "double", "float", "int", "integer", "string"))
_JOINING = frozenset(("and", "or"))
_LIKE = frozenset(("ilike", "like"))
_CHAINING = _LIKE | {"between", "escape", "in", "is", "not"}
KEYWORDS = _JOINING | _CHAINING | {"as", "false", "null", "true"}
_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
    | (?P<comment>--|/\*)
    | (?P<text>'(?:[^']|'')*')
    | (?P<name>"[^"]+"|`[^`]+`)
    | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<sum>[+\-*/%])
    | (?P<comparison><=|>=|<>|!=|==|[=<>])
    | (?P<comma>,)
    | (?P<bracket>[()])
    """,
    re.VERBOSE,
)


@dataclass(slots=True)
class _Token:
    """A token of a condition: kind, text, position, and the texts of both neighbours ("" at an end)."""

    kind: str
    text: str
    place: int
    before: str = ""
    behind: str = ""

    @property
    def word(self) -> str:
        """The text in lower case where it is a bare word, else ""."""
        return self.text.lower() if self.kind == "word" else ""

    @property
    def called(self) -> bool:
        """Whether the token calls a function that a condition may use."""
        return self.behind == "(" and self.word in FUNCTIONS


def check_condition(where: str, columns: Iterable[str]) -> str:
    """Check a condition, and return it in brackets for LanceDB, with columns named as the table names them.

    It may have literals, columns, comparisons, arithmetic, IN, BETWEEN, LIKE, IS, AND, OR, NOT and FUNCTIONS.
    Raises TypeError for what isn't a str; ValueError, which says where, for anything else, for comments, and
    for what would cost too much to parse.
    """
    if not isinstance(where, str):
        raise TypeError(f"where is {type(where).__name__}: make it a str with a condition in SQL")
    if len(where) > LONGEST:
        raise misread(where, f"it has {len(where)} characters, and may have {LONGEST}")
    found = _tokenize(where)
    if not found:
        raise misread(where, "it is empty")
    _require_shallow(where, found)
    _require_few(where, found)
    _require_short_parts(where, found)
    named = {name.lower(): name for name in columns}
    return f"({' '.join(_write(where, token, named) for token in found)})"


def misread(where: str, why: str) -> ValueError:
    """Make the error for a condition that can't be parsed, or that LanceDB can't evaluate."""
    return ValueError(
        f"where is {where!r:.200}, which isn't understood: {why}; make it one condition in SQL, such as "
        "year >= 2010 AND colour = 'red'"
    )


def _tokenize(where: str) -> list[_Token]:
    """Split a condition into tokens, without spaces; ValueError for characters that no token has."""
    found: list[_Token] = []
    place, solid = 0, False  # solid: the token just before is a word, name, number or string
    while place < len(where):
        match = _TOKEN.match(where, place)
        kind = "" if match is None else str(match.lastgroup)
        text = where[place] if match is None else match[0]
        if not kind or kind == "comment":
            what = "a quote that isn't closed" if text in "'\"`" else f"{text!r}, which no condition has"
            raise misread(where, f"it has {what}, at character {place + 1}")
        touches, solid = solid, kind in ("text", "name", "number", "word")
        if solid and touches:
            raise misread(where, f"it has {text[:40]!r} right after another word, at character {place + 1}")
        if kind != "space":
            found.append(_Token(kind, text, place))
        place += len(text)
    for token, behind in pairwise(found):
        token.behind, behind.before = behind.text, token.text
    return found


def _require_shallow(where: str, found: Sequence[_Token]) -> None:
    """Raise ValueError for brackets that don't balance, and for nesting or chaining beyond the limits."""
    chained = [0]  # number of comparisons in a row, for each open bracket
    for token in found:
        if token.text == "(":
            chained.append(0)
        elif token.text == ")":
            chained.pop()
        elif token.kind == "comma" or token.word in _JOINING:
            chained[-1] = 0
        elif token.kind == "comparison" or token.word in _CHAINING:
            chained[-1] += 1
        if not chained:
            raise misread(where, f"it closes a bracket that wasn't opened, at character {token.place + 1}")
        if len(chained) - 1 > DEEPEST:
            raise misread(where, f"it has more than {DEEPEST} nested brackets")
        if chained[-1] > MOST_CHAINED:
            raise misread(where, f"it has more than {MOST_CHAINED} comparisons in a row")
    if len(chained) > 1:
        raise misread(where, f"it has {len(chained) - 1} brackets that aren't closed")


def _require_few(where: str, found: Sequence[_Token]) -> None:
    """Raise ValueError for more operators, functions or patterns than a condition may have."""
    counts = {
        "arithmetic operators": (sum(token.kind == "sum" for token in found), MOST_SUMS),
        "ANDs and ORs": (sum(token.word in _JOINING for token in found), MOST_JOINED),
        "functions": (sum(token.called for token in found), MOST_JOINED),
        "patterns": (sum(token.called and token.word == "regexp_like" for token in found), MOST_PATTERNS),
    }
    for what, (count, most) in counts.items():
        if count > most:
            raise misread(where, f"it has {count} {what}, and may have {most}")


def _require_short_parts(where: str, found: Sequence[_Token]) -> None:
    """Raise ValueError for long strings in functions, which run once for each row, and in patterns."""
    within = [False]  # whether it is inside a function, for each open bracket
    for token in found:
        if token.text == "(":
            within.append(within[-1] or token.before.lower() in FUNCTIONS | _LIKE)
        elif token.text == ")":
            within.pop()
        elif len(token.text) > LONGEST_PART and (within[-1] or token.before.lower() in _LIKE):
            what = f"a string of {len(token.text)} characters in a function or after LIKE"
            raise misread(where, f"it has {what}, and may have {LONGEST_PART}")


def _write(where: str, token: _Token, columns: Mapping[str, str]) -> str:
    """Write a token for LanceDB; ValueError for a word that is no keyword, function, type or column."""
    if token.kind not in ("word", "name"):
        return escape_surrogates(token.text)
    if token.called or token.word in KEYWORDS or (token.before.lower() == "as" and token.word in _TYPES):
        return token.word
    if token.behind == "(":
        what = f"it calls {token.text[:60]!r}, at character {token.place + 1}"
        raise misread(where, f"{what}, and may call {', '.join(sorted(FUNCTIONS))}")
    name = token.word or token.text[1:-1].lower()
    if name not in columns:
        what = f"it names {token.text[:60]!r}, at character {token.place + 1}"
        raise misread(where, f"{what}, and the columns are {', '.join(columns.values())}")
    return f"`{columns[name]}`"
