"""An application is run by uvicorn until a signal ends it: what is in work is finished, nothing new begun."""

from __future__ import annotations

import gc
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
_LOADING = "mmencode-load"
_LATER = 5.0  # seconds that connections have to take the last answers
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
            timeout_graceful_shutdown=int(grace + _LATER),
            ws="none",
            lifespan="on",
            callback_notify=self._end_with_the_process,
            timeout_notify=1,
        )
        self._server = uvicorn.Server(config)
        self._bound = bound

    def run(self, begun: Callable[[], None] | None = None) -> None:
        """Serve until `stop` or a signal, SIGINT or SIGTERM, and finish what is in work.

        `begun` is called first, when signals end the server in good order already.
        """
        with self._obey_signals():
            if begun is not None:
                begun()
            self._server.run(sockets=[self._bound])

    def stop(self) -> None:
        """Let the server end; may be called from any thread."""
        self._server.should_exit = True

    @property
    def is_started(self) -> bool:
        """Whether the server takes requests."""
        return self._server.started

    async def _end_with_the_process(self) -> None:
        """Stop where nobody else can: a server beside a main thread that has ended would keep its process."""
        if not threading.main_thread().is_alive():
            self.stop()

    @contextmanager
    def _obey_signals(self) -> Iterator[None]:
        """Let a signal end the server and nothing more: uvicorn raises those again that it has obeyed.

        One that comes before uvicorn looks for it isn't lost.
        """
        before: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}
        try:
            for each in (signal.SIGINT, signal.SIGTERM):
                before[each] = signal.signal(each, self._obey)
        except ValueError:  # in another thread than the main one nothing arrives
            pass
        try:
            yield
        finally:
            for number, action in before.items():
                signal.signal(number, action)

    def _obey(self, number: int, frame: FrameType | None) -> None:
        self.stop()


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


def spare_what_is_loaded() -> None:
    """Have Python's garbage collector look no more at what is loaded, in a process that only serves.

    It went through all of these objects, a quarter of a million, every few thousand requests, which took a
    fifth of the processor's time for them.
    """
    gc.collect()
    gc.freeze()


def leave_hanging_threads(wait: float = 2.0) -> None:
    """End the process at once where threads of a server are at something for more than `wait` seconds.

    The exit code is 1 where that is work of a request, and 0 where it loads an encoder that nobody
    waits for any more. Python would abort the process else: a thread that comes back from C++ code while the
    interpreter ends can't go on.
    """
    deadline = time.monotonic() + wait
    names = (*_WORKING, _LOADING)
    threads = [each for each in threading.enumerate() if each.daemon and each.name in names]
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    alive = [thread for thread in threads if thread.is_alive()]
    if not alive:
        return
    if hanging := sum(thread.name != _LOADING for thread in alive):
        print(f"error: {hanging} threads didn't finish what they were at", file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(1 if hanging else 0)
