"""Checks of lists that callers pass: they must have an order, and a table isn't taken for a list of names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, KeysView, Set
from typing import Any

from .columns import columns_of, selection

_SHOWN = 8  # names of columns in a message


def to_list(value: Any, what: str, *, of: str = "", once: bool = False) -> list[Any]:
    """The members of a list, a tuple, an array or a column (pandas, NumPy, Arrow, Polars), in their order.

    `what` is the argument's name for messages, and `of`, as in " of strings", says what its members must be.
    Raises TypeError as `require_list`.
    """
    require_list(value, what, of=of, once=once)
    for method in ("to_pylist", "tolist", "to_list"):
        convert = getattr(value, method, None)
        if callable(convert):
            value = convert()  # a 0-dimensional array gives a scalar, which is no list
            require_list(value, what, of=of, once=once)
            break
    return list(value)


def to_strings(value: Any, what: str) -> list[str]:
    """The members of a list of strings, as `to_list`; TypeError names the first that is none."""
    found = to_list(value, what, of=" of strings")
    for place, word in enumerate(found):
        if not isinstance(word, str):
            raise TypeError(
                f"{what} must be a list of strings, and number {place} is {word!r:.100}: leave it out, or "
                "write it as a word"
            )
    return [str.__str__(word) for word in found]  # plain str, whatever subclass it was


def require_list(value: Any, what: str, *, of: str = "", once: bool = True) -> None:
    """Raise TypeError for an object that isn't an ordered collection of members.

    These are tables, mappings, sets, single strings, and iterators unless the caller reads the list but
    `once`.
    """
    wanted, kind = f"{what} must be a list{of}", type(value).__name__
    columns = columns_of(value)
    if columns:
        shown = ", ".join(map(repr, columns[:_SHOWN])) + (", ..." if len(columns) > _SHOWN else "")
        raise TypeError(
            f"{wanted}, not a {kind} with the columns {shown}: pass one of them, as in "
            f"{selection(value, 'table', columns[-1])}"
        )
    if columns is not None or isinstance(value, (str, bytes, bytearray)) or not isinstance(value, Iterable):
        raise TypeError(f"{wanted}, not one {kind}: put it into a list, [...]")
    if isinstance(value, Set) and not isinstance(value, KeysView):  # the keys of a dict keep their order
        raise TypeError(f"{wanted}, and a {kind} has no order of its own: pass a list, as sorted() gives it")
    if isinstance(value, Iterator) and not once:
        raise TypeError(f"{wanted}, and a {kind} can be read but once: pass a list, as list() gives it")


def split_lines(text: str) -> list[str]:
    r"""Split a text into lines at \n and \r\n only, and not at the other line ends that Unicode knows."""
    found = text.split("\n")
    if not found[-1]:
        found.pop()
    return [line.removesuffix("\r") for line in found]
