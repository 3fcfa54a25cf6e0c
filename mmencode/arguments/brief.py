"""Short representations of values, for consoles and notebooks, however much the values hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import MISSING, fields
from itertools import islice
from typing import Any

MOST = 400  # characters of a representation
_TEXT, _PARTS, _SMALL, _DEPTH = 80, 4, 6, 3


class Brief:
    """Gives a dataclass a representation of some hundred characters; `repr=False` makes room for it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return describe_fields(self)


def describe_fields(value: Any) -> str:
    """Represent a dataclass by its fields; long values are shortened, then defaults are left out."""
    every = [(one, getattr(value, one.name)) for one in fields(value) if one.repr]
    whole = _call(value, every)
    if len(whole) > MOST:
        whole = _call(value, [(one, held) for one, held in every if not _is_default(one, held)])
    return shorten(whole, MOST)


def describe_briefly(value: Any, depth: int = _DEPTH) -> str:
    """Represent any value within a few words: an array by its shape, a collection by its first members."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape and hasattr(value, "dtype"):
        size = 1
        for count in shape:
            size *= count
        if size > _SMALL:
            return f"<{value.dtype} {list(shape)}>"
    if isinstance(value, (str, bytes)):
        return shorten(repr(value[:MOST]), _TEXT)
    if isinstance(value, Mapping):
        pairs = (
            (describe_briefly(key, depth - 1), describe_briefly(held, depth - 1))
            for key, held in value.items()
        )
        return _list_parts(value, (f"{key}: {held}" for key, held in pairs), "{}", depth)
    if type(value) in (tuple, list) or isinstance(value, Set):
        marks = "()" if type(value) is tuple else "[]" if type(value) is list else "{}"
        return _list_parts(value, (describe_briefly(part, depth - 1) for part in value), marks, depth)
    return shorten(repr(value), 2 * _TEXT)


def shorten(text: str, most: int) -> str:
    """Cut the middle out of a text that has more characters than `most`."""
    return text if len(text) <= most else f"{text[: most - most // 3 - 5]} ... {text[-(most // 3) :]}"


def table_in_markdown(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table in Markdown, as notebooks show it, with the marks in its cells escaped."""
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = shorten(" ".join(str(value).split()), _TEXT)
    return "".join(f"\\{mark}" if mark in r"\`*_{}[]<>#|~$&" else mark for mark in text)


def _call(value: Any, given: Iterable[tuple[Any, Any]]) -> str:
    arguments = (f"{one.name}={describe_briefly(held)}" for one, held in given)
    return f"{type(value).__qualname__}({', '.join(arguments)})"


def _is_default(one: Any, value: Any) -> bool:
    try:
        default = one.default if one.default_factory is MISSING else one.default_factory()
        return bool(default is not MISSING and value == default)
    except ValueError:  # arrays of several numbers
        return False


def _list_parts(value: Any, parts: Iterable[str], marks: str, depth: int) -> str:
    count = len(value)
    if not depth and count:
        return f"{marks[0]}... {count}{marks[1]}"
    shown = list(islice(parts, _PARTS))
    if count > _PARTS:
        shown.append(f"... {count} in all")
    elif count == 1 and marks == "()":
        shown[0] += ","
    return f"{marks[0]}{', '.join(shown)}{marks[1]}"
