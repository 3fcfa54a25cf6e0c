"""Notices that an encoder gives once, to whoever encodes: what it leaves out of an item, say."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar

_unheard: ContextVar[bool] = ContextVar("unheard", default=False)


class Notice:
    """A warning that an encoder gives the first time that an item of the caller's calls for it.

    The items that mmencode makes itself, to see what an encoder does with them, call for none. Of several
    threads one gives it.
    """

    def __init__(self, message: str) -> None:
        self._unsaid = [message]  # taking an entry from a list is atomic

    def give(self) -> None:
        """Warn with a UserWarning, unless that was done before."""
        if not _unheard.get():
            with suppress(IndexError):
                warnings.warn(self._unsaid.pop(), UserWarning, stacklevel=3)


def keep_notices() -> Callable[[], AbstractContextManager[None]]:
    """Give what has other threads keep an encoder's notices where this thread does."""
    return without_notices if _unheard.get() else nullcontext


@contextmanager
def without_notices() -> Iterator[None]:
    """Have encoders in this thread keep their notices, while they preprocess what isn't the caller's."""
    token = _unheard.set(True)
    try:
        yield
    finally:
        _unheard.reset(token)
