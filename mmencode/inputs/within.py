"""Calls of a plugin's code that are left alone where they take too long."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any


def call_within(seconds: float, call: Callable[[], Any], late: Callable[[], Exception]) -> Any:
    """Call a function in a thread, and raise `late()` where it takes more than so many seconds.

    The thread then goes on by itself, since Python can't end one.
    """
    said: list[Any] = []

    def run() -> None:
        try:
            said.append(call())
        except BaseException as cause:
            said.append(_Raised(cause))

    thread = threading.Thread(target=run, name="mmencode-within", daemon=True)
    thread.start()
    thread.join(None if seconds == math.inf else min(seconds, threading.TIMEOUT_MAX))
    if not said:
        raise late()
    (found,) = said
    if not isinstance(found, _Raised):
        return found
    raise found.cause


class _Raised:
    """An exception out of a thread."""

    def __init__(self, cause: BaseException) -> None:
        self.cause = cause
