"""Routes of the page: its files, and what its script asks for, by the limits and keys of all other routes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from .gateway import Gateway
from .page_asks import EmbedAsk, LabelsAsk, MapAsk, NeighboursAsk, PartsAsk, PreviewsAsk
from .page_desk import Desk
from .page_files import HEADERS, PageFile, read_page
from .routes import ProtocolRoute
from .shelf import Shelf


@dataclass(frozen=True, slots=True)
class Page:
    """The page about the default space of a server, and about an index of it if there is one."""

    shelf: Shelf | None = None

    def routes(self, gateway: Gateway) -> APIRouter:
        """Make the routes of the page's files, and of what its script asks for."""
        return _routes(Desk(gateway, self.shelf))


def _routes(desk: Desk) -> APIRouter:
    router = APIRouter(route_class=ProtocolRoute, include_in_schema=False)
    for path, file in read_page().items():
        router.add_api_route(path, _Sending(file).send, methods=["GET"], include_in_schema=False)

    @router.get("/ui/about")
    async def about(request: Request) -> dict[str, Any]:
        """Describe the space and the index."""
        return await desk.describe(request)

    @router.post("/ui/embed")
    async def embed(asked: EmbedAsk, request: Request) -> dict[str, Any]:
        """Encode one item of a client."""
        return await desk.embed(asked, request)

    @router.post("/ui/neighbours")
    async def neighbours(asked: NeighboursAsk, request: Request) -> dict[str, Any]:
        """Search the index by an encoded item."""
        return await desk.search(asked, request)

    @router.post("/ui/previews")
    async def previews(asked: PreviewsAsk, request: Request) -> dict[str, Any]:
        """Show rows of the index."""
        return await desk.show(asked.keys)

    @router.post("/ui/labels")
    async def labels(asked: LabelsAsk, request: Request) -> dict[str, Any]:
        """Score labels for encoded items."""
        return await desk.score(asked, request)

    @router.post("/ui/parts")
    async def parts(asked: PartsAsk, request: Request) -> dict[str, Any]:
        """Measure what each part of an item adds to a match."""
        return await desk.explain(asked, request)

    @router.post("/ui/map")
    async def plan(asked: MapAsk, request: Request) -> dict[str, Any]:
        """Lay the index out on a plane."""
        return await desk.draw(centred=asked.centred)

    return router


class _Sending:
    """Sends one file of the page."""

    def __init__(self, file: PageFile) -> None:
        self._file = file

    async def send(self, request: Request) -> Response:
        """Answer with the file."""
        return Response(self._file.content, headers=dict(HEADERS), media_type=self._file.kind)
