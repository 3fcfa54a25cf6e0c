"""A server beside other code of the same process, in a thread: for notebooks, examples and tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import MmencodeError
from ..spaces.space import Space
from .app import make_app
from .gateway import Gateway
from .options import ServerOptions, require_safe_host
from .page_routes import Page
from .running import Running, bind, url_of
from .service import Service, Services

_ENDING = 30.0  # seconds in which what is in work is finished
_LAST = 120.0  # seconds in which a server that stops has ended


@contextmanager
def serve_beside(
    *spaces: Space,
    host: str = "127.0.0.1",
    port: int = 0,
    options: ServerOptions | None = None,
    wait: float = 600.0,
    page: Page | None = None,
) -> Iterator[str]:
    """Serve spaces in a thread while the block runs, and give the server's URL once they are loaded.

    Port 0 takes a free one; `wait` is the seconds that loading may take, 0 to give the URL at once; `page` is
    as for `make_app`. A server whose block never ends does so with the process. Raises MmencodeError for a
    host that others reach without keys, and for a server that doesn't end; and what loading a space raises.
    """
    options = ServerOptions() if options is None else options
    require_safe_host(host, options.keys)
    services = Services({space.name: Service(space) for space in spaces})
    failures: list[BaseException] = []
    app = make_app(services, options=options, on_failure=failures.append, page=page)
    with bind(host, port) as bound:
        running = Running(app, bound, grace=_ENDING)
        thread = threading.Thread(target=running.run, name="mmencode-server")
        thread.start()
        try:
            if wait:
                _await(running, app.state.gateway, failures, thread, time.monotonic() + wait)
            yield url_of(bound)
        finally:
            running.stop()
            thread.join(_LAST)
            if thread.is_alive():
                raise MmencodeError(
                    f"the server didn't end within {_LAST:g} s, and goes on in a thread of this process",
                    remedy="see its log for what it is at",
                )


def _await(
    running: Running,
    gateway: Gateway,
    failures: list[BaseException],
    thread: threading.Thread,
    deadline: float,
) -> None:
    while not (running.is_started and gateway.is_ready):
        if failures:
            raise failures[0]
        if not thread.is_alive() or time.monotonic() > deadline:
            raise MmencodeError("the server didn't start", remedy="see its log, or wait longer")
        time.sleep(0.01)
