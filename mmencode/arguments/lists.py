"""Lists that callers pass: what has an order of its own, and no table taken for the names of its columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, KeysView, Set
from typing import Any

from .columns import columns_of, selection

_SHOWN = 8  # names of columns in a message


def in_order(value: Any, what: str, *, of: str = "", once: bool = False) -> list[Any]:
    """The members of a list, a tuple, an array or a column (pandas, NumPy, Arrow, Polars), in their order.

    `what` is the name of the argument for messages, and `of` says what it is to hold. Raises TypeError as
    `require_list`.
    """
    require_list(value, what, of=of, once=once)
    for method in ("to_pylist", "tolist", "to_list"):
        convert = getattr(value, method, None)
        if callable(convert):
            value = convert()  # of an array without a dimension one member, which is no list
            require_list(value, what, of=of, once=once)
            break
    return list(value)


def strings(value: Any, what: str) -> list[str]:
    """The same of strings only; TypeError, which names the first other one, for anything else."""
    found = in_order(value, what, of=" of strings")
    for place, word in enumerate(found):
        if not isinstance(word, str):
            raise TypeError(
                f"{what} must be a list of strings, and number {place} is {word!r:.100}: leave it out, or "
                "write it as a word"
            )
    return [str.__str__(word) for word in found]  # of str itself, whatever it was derived from


def require_list(value: Any, what: str, *, of: str = "", once: bool = True) -> None:
    """TypeError for what has no members of its own in an order of its own.

    That is a table, a mapping, a set, a single word, and an iterator, unless it is read but `once`.
    """
    wanted, kind = f"{what} must be a list{of}", type(value).__name__
    columns = columns_of(value)
    if columns:
        shown = ", ".join(map(repr, columns[:_SHOWN])) + (", ..." if len(columns) > _SHOWN else "")
        raise TypeError(
            f"{wanted}, not a {kind} with the columns {shown}: pass the one that you mean, as in "
            f"{selection(value, 'table', columns[-1])}"
        )
    if columns is not None or isinstance(value, (str, bytes, bytearray)) or not isinstance(value, Iterable):
        raise TypeError(f"{wanted}, not one {kind}: put what you mean into a list, [...]")
    if isinstance(value, Set) and not isinstance(value, KeysView):  # the keys of a dict keep their order
        raise TypeError(f"{wanted}, and a {kind} has no order of its own: pass a list, as sorted() gives it")
    if isinstance(value, Iterator) and not once:
        raise TypeError(f"{wanted}, and a {kind} can be read but once: pass a list, as list() gives it")


def lines(text: str) -> list[str]:
    r"""The lines of a file, which end at \n or \r\n and at nothing else that Unicode calls a line's end."""
    found = text.split("\n")
    if not found[-1]:
        found.pop()
    return [line.removesuffix("\r") for line in found]
