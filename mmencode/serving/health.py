"""Routes for whoever watches a server: whether it lives, whether it can answer, and its figures."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.responses import Response

from .gateway import Gateway
from .metrics import CONTENT_TYPE
from .routes import ProtocolRoute

_STATES: dict[int | str, dict[str, Any]] = {503: {"description": "It doesn't, or not yet."}}


def routes(gateway: Gateway) -> APIRouter:
    """Make the routes /health, /ready and /metrics."""
    router = APIRouter(route_class=ProtocolRoute, tags=["health"])
    services = gateway.services

    @router.get("/health", responses=_STATES)
    async def health() -> JSONResponse:
        """Tell whether the threads that compute still answer."""
        sound = gateway.failure is None and all(
            name not in gateway.ids or services[name].is_healthy() for name in services.names
        )
        return JSONResponse({"status": "ok" if sound else "unhealthy"}, 200 if sound else 503)

    @router.get("/ready", responses=_STATES)
    async def ready() -> JSONResponse:
        """Tell whether all spaces are loaded, and which they are."""
        spaces = {
            name: {
                "space": gateway.ids.get(name),
                "modalities": {each: services[name].is_ready(each) for each in services[name].modalities},
            }
            for name in services.names
        }
        loaded = gateway.is_ready
        state = "ready" if loaded else "failed" if gateway.failure else "loading"
        headers = {} if loaded else {"Retry-After": "1"}
        return JSONResponse({"status": state, "spaces": spaces}, 200 if loaded else 503, headers)

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Write the figures of the server in the format of Prometheus."""
        return Response(await gateway.run(gateway.metrics.write), headers={"Content-Type": CONTENT_TYPE})

    return router
