"""Undo changes of the process by a plugin that is asked, where that is cheap, and note all of them."""

from __future__ import annotations

import gc
import io
import locale
import logging
import os
import random
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from ..errors.causes import printable, quote
from .prints import redirect_output

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGCHLD", "SIGPIPE", "SIGUSR1", "SIGUSR2")
_NAMED = 5  # names of variables in a note


class _Owned(NamedTuple):
    """One part of the process's state that no plugin may change, and how to read and restore it."""

    words: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


@contextmanager
def undoing(notes: list[str]) -> Iterator[None]:
    """Undo the block's changes of the process's state, and add words about each to `notes`.

    Environment variables and the import path stay as the plugin sets them, since its encoders may need them.
    """
    environment, path, finders = dict(os.environ), list(sys.path), list(sys.meta_path)
    threads = set(threading.enumerate())
    with redirect_output(threading.get_ident()) as aside, _no_standard_input():
        before = [(owned, _read(owned)) for owned in _OWNED]
        try:
            yield
        finally:
            changed = [owned for owned, value in before if _restore(owned, value)]
    if aside.said.strip():
        notes.append(f"prints {quote(aside.said.strip(), 80)}")
    if changed:
        notes.append(f"changes {', '.join(owned.words for owned in changed)}, which was undone")
    variables = [name for name, value in os.environ.items() if environment.get(name) != value]
    variables += [name for name in environment if name not in os.environ]
    if variables:
        more = f" and {len(variables) - _NAMED} more" if len(variables) > _NAMED else ""
        notes.append(f"sets {printable(', '.join(variables[:_NAMED]), 200)}{more} in the environment")
    if sys.path != path or sys.meta_path != finders:
        notes.append("changes where modules are searched for")
    started = [thread for thread in threading.enumerate() if thread not in threads]
    if started:
        lasting = "" if all(thread.daemon for thread in started) else ", and no command ends before it does"
        notes.append(f"starts a thread{lasting}")


@contextmanager
def _no_standard_input() -> Iterator[None]:
    """Give a plugin that reads from standard input the end of the file, so that it doesn't wait."""
    kept, sys.stdin = sys.stdin, io.StringIO()
    try:
        yield
    finally:
        sys.stdin = kept


def _read(owned: _Owned) -> Any:
    with suppress(Exception):  # the working directory may be gone, say
        return owned.read()
    return None


def _restore(owned: _Owned, before: Any) -> bool:
    """Restore one part of the state, and tell whether it had changed."""
    if before is None or _read(owned) == before:
        return False
    with suppress(Exception):
        owned.write(before)
    return True


def _streams(values: tuple[Any, ...]) -> None:
    sys.stdin, sys.stdout, sys.stderr = values


def _hooks(values: tuple[Any, ...]) -> None:
    sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook = values


def _handlers() -> dict[int, Any]:
    """The signal handlers that were set from Python; others can't be restored from Python."""
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    found = {number: signal.getsignal(number) for number in numbers}
    return {number: handler for number, handler in found.items() if handler is not None}


def _handle(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _has_alarm() -> bool:
    return signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0)


def _stop_alarm(before: bool) -> None:
    if not before:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _log(values: tuple[int, list[logging.Handler], int]) -> None:
    logging.root.setLevel(values[0])
    logging.root.handlers[:] = values[1]
    logging.disable(values[2])


def _is_sweeping(entry: tuple[Any, ...]) -> bool:
    """Whether a filter of warnings applies to all warnings, whatever their category, message and module."""
    return entry[1:] == (None, Warning, None, 0)


def _sweeping() -> list[tuple[Any, int]]:
    """The sweeping filters, each with the number of narrower ones that come after it."""
    narrow = [not _is_sweeping(entry) for entry in warnings.filters]
    return [
        (entry, sum(narrow[place:])) for place, entry in enumerate(warnings.filters) if _is_sweeping(entry)
    ]


def _filter(before: list[tuple[Any, int]]) -> None:
    """Restore the sweeping filters among the narrower ones, which libraries add when they are imported."""
    narrow = [entry for entry in warnings.filters if not _is_sweeping(entry)]
    waiting, filters = list(before), []
    for place, entry in enumerate(narrow):
        while waiting and waiting[0][1] >= len(narrow) - place:
            filters.append(waiting.pop(0)[0])
        filters.append(entry)
    with warnings.catch_warnings():
        pass  # leaving the block resets the caches of filters, as no public call does
    warnings.filters[:] = [*filters, *(entry for entry, _ in waiting)]  # type: ignore[index]


def _collect(on: bool) -> None:
    (gc.enable if on else gc.disable)()


def _numbers() -> tuple[Any, bool]:
    """torch's default dtype and whether it records gradients, or its initial ones before it is imported."""
    torch = sys.modules.get("torch")
    return (str(torch.get_default_dtype()), torch.is_grad_enabled()) if torch else ("torch.float32", True)


def _compute(values: tuple[str, bool]) -> None:
    torch = sys.modules["torch"]
    torch.set_default_dtype(getattr(torch, values[0].removeprefix("torch.")))
    torch.set_grad_enabled(values[1])


_OWNED = (
    _Owned("the standard streams", lambda: (sys.stdin, sys.stdout, sys.stderr), _streams),
    _Owned("the working directory", os.getcwd, os.chdir),
    _Owned("signal handlers", _handlers, _handle),
    _Owned("the alarm", _has_alarm, _stop_alarm),
    _Owned(
        "the locale", lambda: locale.setlocale(locale.LC_ALL), lambda v: locale.setlocale(locale.LC_ALL, v)
    ),
    _Owned(
        "the hooks for errors",
        lambda: (sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook),
        _hooks,
    ),
    _Owned(
        "how things are logged",
        lambda: (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
        _log,
    ),
    _Owned("which warnings are shown", _sweeping, _filter),
    _Owned("the state of random", random.getstate, random.setstate),
    _Owned("the limit of recursion", sys.getrecursionlimit, sys.setrecursionlimit),
    _Owned(
        "the default timeout of sockets",
        lambda: (socket.getdefaulttimeout(),),
        lambda v: socket.setdefaulttimeout(*v),
    ),
    _Owned("the collection of garbage", gc.isenabled, _collect),
    _Owned("torch's defaults", _numbers, _compute),
)
