"""The ASGI application that serves spaces: its parts, put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from .._version import __version__
from . import health
from .gate import Gate
from .gateway import Gateway
from .options import ServerOptions
from .page_files import read_page
from .page_routes import Page
from .protocols import cohere, huggingface, openai, reranking, scores, voyage, weaviate
from .routes import answer_http_exception, answer_validation
from .service import Services

_log = logging.getLogger("mmencode.serving")


def make_app(
    services: Services,
    *,
    options: ServerOptions | None = None,
    on_failure: Callable[[BaseException], None] | None = None,
    on_ready: Callable[[], None] | None = None,
    page: Page | None = None,
) -> FastAPI:
    """Make the application that serves these spaces by all protocols.

    When it starts, it loads them in the background, and answers 503 meanwhile; when it stops, what is in work
    is finished first. `on_ready` is called once all spaces are loaded, and `on_failure` with the error where
    one can't be. Without a `page` there is none.
    """
    options = ServerOptions() if options is None else options
    if page is not None:
        options = replace(options, open_paths=(*options.open_paths, *read_page()))
    gateway = Gateway(services, options)

    @asynccontextmanager
    async def live(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(_start(gateway, on_failure, on_ready))
        yield
        loading.cancel()
        with suppress(asyncio.CancelledError):
            await loading
        await gateway.stop()

    app = FastAPI(title="mmencode", version=__version__, lifespan=live, docs_url=None, redoc_url=None)
    app.state.gateway = gateway
    app.add_middleware(Gate, gateway=gateway)
    app.add_exception_handler(HTTPException, answer_http_exception)
    app.add_exception_handler(RequestValidationError, answer_validation)
    app.include_router(health.routes(gateway))
    for protocol in (openai, cohere, voyage, huggingface, weaviate, reranking, scores):
        app.include_router(protocol.routes(gateway))
    if page is not None:
        app.include_router(page.routes(gateway))
    return app


async def _start(
    gateway: Gateway,
    on_failure: Callable[[BaseException], None] | None,
    on_ready: Callable[[], None] | None,
) -> None:
    try:
        await gateway.start()
    except Exception as cause:
        gateway.failure = cause
        _log.error("a space can't be loaded", exc_info=cause)
        if on_failure is not None:
            on_failure(cause)
    else:
        if on_ready is not None:
            on_ready()
