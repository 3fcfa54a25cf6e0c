"""An application is run by uvicorn until a signal ends it: what is in work is finished, nothing new begun."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import uvicorn

_IDLE = 10  # seconds that a connection without a request is kept
_WORKING = ("mmencode-compute", "mmencode-prepare")  # names of threads
_BACKLOG = 2048  # connections that wait to be taken


class Running:
    """One server on a socket that is bound already; `run` returns when it has ended."""

    def __init__(self, app: Any, bound: socket.socket, *, grace: float, log_level: str = "warning") -> None:
        config = uvicorn.Config(
            app,
            log_level=log_level,
            access_log=False,
            server_header=False,
            date_header=True,
            timeout_keep_alive=_IDLE,
            timeout_graceful_shutdown=int(grace),
            ws="none",
            lifespan="on",
        )
        self._server = uvicorn.Server(config)
        self._bound = bound

    def run(self) -> None:
        """Serve until `stop` or a signal, SIGINT or SIGTERM, and finish what is in work."""
        with _returning():
            self._server.run(sockets=[self._bound])

    def stop(self) -> None:
        """Let the server end; may be called from any thread."""
        self._server.should_exit = True

    @property
    def is_started(self) -> bool:
        """Whether the server takes requests."""
        return self._server.started


def bind(host: str, port: int) -> socket.socket:
    """Bind a socket that listens on the first address of a host; port 0 takes one that is free."""
    try:
        infos = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
    except UnicodeError as cause:
        raise OSError(f"{host!r} is no name of a host") from cause
    family, kind, protocol, _, address = infos[0]
    # Only to a socket that says its protocol asyncio gives TCP_NODELAY, without which an answer waits 40 ms.
    bound = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
    except BaseException:
        bound.close()
        raise
    return bound


def url_of(bound: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def leave_hanging_threads(wait: float = 2.0) -> None:
    """End the process at once, with exit code 1, where threads of a server still work after `wait` seconds.

    Python would abort it else: a thread that comes back from C++ code while the interpreter ends can't go on.
    """
    deadline = time.monotonic() + wait
    threads = [each for each in threading.enumerate() if each.daemon and each.name in _WORKING]
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if hanging := sum(thread.is_alive() for thread in threads):
        print(f"error: {hanging} threads didn't finish what they were at", file=sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(1)


@contextmanager
def _returning() -> Iterator[None]:
    """Let a signal that uvicorn has obeyed end nothing more; it raises it again once it has stopped."""
    before: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}
    try:
        for each in (signal.SIGINT, signal.SIGTERM):
            before[each] = signal.signal(each, _pass)
    except ValueError:  # in another thread than the main one nothing arrives
        pass
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _pass(number: int, frame: FrameType | None) -> None:
    """Do nothing about a signal that was obeyed already."""
