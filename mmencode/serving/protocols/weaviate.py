"""Weaviate's protocol for inference: multi2vec-clip and multi2vec-bind send it their texts and media."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import Response

from ..._version import __version__
from ...plugins.spec import AUDIO, IMAGE, TEXT
from ..asking import Part, Wanted, media
from ..embedding import MOST, Embedded, embed_items
from ..faults import RequestError
from ..gateway import Gateway
from ..routes import write_json
from .bodies import ERRORS, PlainRoute

Items = Annotated[list[str] | None, Field(max_length=MOST)]

# The field of the request that has a modality's items, and the field of the answer that has their vectors.
_FIELDS = {
    "texts": (TEXT, "textVectors"),
    "images": (IMAGE, "imageVectors"),
    "audio": (AUDIO, "audioVectors"),
    "video": ("video", "videoVectors"),
    "imu": ("imu", "imuVectors"),
    "thermal": ("thermal", "thermalVectors"),
    "depth": ("depth", "depthVectors"),
}


class VectorizeRequest(BaseModel):
    """Items of several modalities, as Weaviate sends them: texts, and media in base64; null is none."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    texts: Items = None
    images: Items = None
    audio: Items = None
    video: Items = None
    imu: Items = None
    thermal: Items = None
    depth: Items = None
    space: str = Field("", description="The id of the space that the vectors must be of, or else 409.")


def routes(gateway: Gateway) -> APIRouter:
    """Make the routes /vectorize, /meta, /.well-known/live and /.well-known/ready."""
    router = APIRouter(route_class=PlainRoute, tags=["weaviate"])

    @router.post("/vectorize", responses=ERRORS)
    async def vectorize(asked: VectorizeRequest, request: Request) -> Response:
        """Turn items of several modalities into vectors of the default space, each modality's in order."""
        service = gateway.choose(request)
        wanted = read_items(asked)
        found = await embed_items(
            gateway, request, service, [item for _, item in wanted], expected=asked.space
        )
        write = partial(_write, found, [name for name, _ in wanted])
        return await write_json(request, write, size=len(wanted) * service.space.dim * 20)

    @router.get("/meta", responses=ERRORS)
    async def meta(request: Request) -> JSONResponse:
        """Describe the default space, as Weaviate shows it among its modules."""
        service = gateway.choose(request)
        return JSONResponse(
            {
                "model": service.space.name,
                "space": gateway.ids[service.space.name],
                "modalities": list(service.modalities),
                "dimensions": service.space.dim,
                "server": f"mmencode {__version__}",
            }
        )

    @router.get("/.well-known/live", status_code=204, response_class=Response)
    async def live() -> Response:
        """Tell that the server answers."""
        return Response(status_code=204)

    @router.get("/.well-known/ready", status_code=204, response_class=Response, responses=ERRORS)
    async def ready() -> Response:
        """Tell whether the default space is loaded."""
        service, name = gateway.services.default, gateway.services.names[0]
        if name not in gateway.ids or not all(map(service.is_ready, service.modalities)):
            raise RequestError(
                "the space is still loading",
                status=503,
                code="not_ready",
                remedy="ask later",
                retry_after=1.0,
            )
        return Response(status_code=204)

    return router


def read_items(asked: VectorizeRequest) -> list[tuple[str, Wanted]]:
    """Make the items of a request, each with the name of its field; RequestError where there are none.

    Weaviate doesn't say which texts are queries, so all are encoded as documents.
    """
    wanted = []
    for name, (modality, _) in _FIELDS.items():
        for value in getattr(asked, name) or ():
            part = Part(TEXT, value) if modality == TEXT else media(modality, value)
            wanted.append((name, Wanted((part,))))
    if not wanted:
        raise RequestError("the request has no items", status=422, code="invalid_input", param="texts")
    return wanted


def _write(found: Embedded, names: Sequence[str]) -> bytes:
    body: dict[str, Any] = {answered: [] for _, answered in _FIELDS.values()}
    for name, vector in zip(names, found.vectors, strict=True):
        body[_FIELDS[name][1]].append(vector.tolist())
    return to_json({**body, "model": found.model, "space": found.space})
