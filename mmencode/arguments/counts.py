"""Checks of the counts that callers pass."""

from __future__ import annotations

import operator
from typing import Any


def require_positive(value: Any, name: str = "k", most: int | None = None, *, other: str = "") -> int:
    """Take a number of any integer type as an int; ValueError unless it is 1 to `most`, and for True.

    `name` is the argument's, for the message, and `other` says what else the caller may pass.
    """
    try:
        is_bool = isinstance(value, bool) or getattr(getattr(value, "dtype", None), "kind", "") == "b"
        number = 0 if is_bool else operator.index(value)  # NumPy 2.0 takes its own booleans for integers
    except TypeError:
        number = 0
    if number < 1 or (most is not None and number > most):
        wanted = "a positive int" if most is None else f"an int from 1 to {most}"
        raise ValueError(f"{name} is {value!r:.100}: make it {wanted}{other and f' or {other}'}")
    return number
