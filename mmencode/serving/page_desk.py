"""Answers to the page's script: items are encoded with those of all clients, and compared in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any, TypeVar

import numpy as np
from starlette.requests import Request

from ..arguments.plain import plain
from ..embeddings.array_types import Vectors
from ..embeddings.embeddings import Embeddings
from ..embeddings.multi import MultiEmbeddings
from ..embeddings.surrogates import escape_surrogates, unescape_surrogates
from ..errors import UnknownModalityError
from ..inputs.data_uris import read_data_uri
from ..pages import survey
from ..pages.maps import draw_points
from ..pages.previews import Preview
from ..plugins.composites import INTERLEAVED, is_composite
from ..plugins.modalities import find_modality
from ..plugins.spec import QUERY
from ..zeroshot import Classification
from .asking import Part, Wanted
from .exchange import Exchange
from .faults import RequestError
from .gateway import Gateway
from .labelling import Labelling
from .page_asks import EmbedAsk, LabelsAsk, NeighboursAsk, PartsAsk, SentVector, Target
from .parts import CUT, Parts, cut_item
from .service import Ask, Service
from .shelf import Shelf

T = TypeVar("T")
Vectored = Embeddings | MultiEmbeddings

POINTS = 20_000  # rows of an index that the page draws a map of
CLUSTERED = 5_000  # rows of an index whose map has clusters
COLOURINGS = 6  # metadata by which a map is coloured
_AT_ONCE = 2  # searches, maps and previews


class Desk:
    """The page's answers about the default space, and about an index of it if there is one."""

    def __init__(self, gateway: Gateway, shelf: Shelf | None) -> None:
        self._gateway = gateway
        self._shelf = shelf
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._labelling = Labelling(gateway)

    @property
    def service(self) -> Service:
        """The service of the default space."""
        return self._gateway.services.default

    async def describe(self, request: Request) -> dict[str, Any]:
        """Describe the space, what it takes, and the index."""
        service = self._gateway.choose(request)
        space = service.space
        shown = [one for one in service.modalities if not is_composite(one) and one != INTERLEAVED]
        found: dict[str, Any] = {
            "name": space.name,
            "space": space.id,
            "modalities": [_describe_modality(one) for one in shown],
            "explains": [one for one in shown if one in CUT],
            "bytes": min(space.limits.bytes, self._gateway.options.body * 3 // 4 - 2**16),
            "index": None,
        }
        if self._shelf is not None:
            index = self._shelf.index
            state = await self._run(index.state)
            found["index"] = {"name": escape_surrogates(index.path.name), "rows": dict(state.rows)}
        return found

    async def embed(self, asked: EmbedAsk, request: Request) -> dict[str, Any]:
        """Encode an item as a query, or take the vector that a row of the index has."""
        if asked.key:
            rows = await self._run(self._index.find, [unescape_surrogates(asked.key)])
            return dict(SentVector.of(_vectors_of(rows.embeddings)))
        service = self._gateway.choose(request)
        wanted = Wanted((Part(asked.modality, asked.item),), QUERY)
        answers = await self._gateway.answer(request, service, [wanted])
        self._gateway.require_all(answers)
        vector = answers[0].vector
        assert vector is not None
        return dict(SentVector.of(vector))

    async def search(self, asked: NeighboursAsk, request: Request) -> dict[str, Any]:
        """Find the rows nearest to an encoded item; a row isn't among its own neighbours."""
        shelf = self._index
        queries, own = await self._read(asked, request)
        hits = await self._run(
            lambda: shelf.neighbours(queries, asked.k, among=asked.among or None, without=own)
        )
        state = await self._run(shelf.index.state)
        many = isinstance(queries, MultiEmbeddings)
        return {
            "rows": [
                {
                    "key": escape_surrogates(hit.key),
                    "modality": hit.modality,
                    "score": hit.score / len(queries.vectors) if many else hit.score,
                    "metadata": plain(hit.metadata),
                }
                for hit in hits
            ],
            "searched": sum(
                count for name, count in state.rows.items() if not asked.among or name in asked.among
            ),
            "meaning": "means of the best cosine similarity for each vector of the item"
            if many
            else "cosine similarities",
        }

    async def show(self, keys: Sequence[str]) -> dict[str, Any]:
        """Make the previews of rows, in the order of the keys."""
        given = [unescape_surrogates(key) for key in keys]
        return {"previews": await self._run(self._preview, given)}

    async def score(self, asked: LabelsAsk, request: Request) -> dict[str, Any]:
        """Score labels for encoded items, all of them, best first."""
        service = self._gateway.choose(request)
        vectors = [
            self._embeddings(service, item.modality, item.vector.read(service.space.dim))
            for item in asked.items
        ]
        ranked = []
        for each in vectors:
            if isinstance(each, MultiEmbeddings):
                raise RequestError(
                    "items of this space have many vectors each, and labels are compared with one",
                    status=422,
                    code="labels",
                )
            ranked.append(await self._labelling.rank(request, service, each, asked.labels))
        return {"items": list(map(_show_labels, ranked)), "meaning": "cosine similarities"}

    async def explain(self, asked: PartsAsk, request: Request) -> dict[str, Any]:
        """Measure how much lower the score of two items is without each part of the first."""
        service = self._gateway.choose(request)
        target, _ = await self._read(asked.target, request)
        modality, cut = await self._cut(asked, service)
        exchange = Exchange.of(request.scope)
        answers = await service.embed(
            [Ask(modality, each, QUERY) for each in (cut.whole, *cut.without)],
            client=exchange.client,
            wait=self._gateway.options.wait,
            is_gone=exchange.has_left,
        )
        self._gateway.require_all(answers[:1])
        scores = [
            None if answer.vector is None else _compare(answer.vector, target.vectors) for answer in answers
        ]
        whole = scores[0]
        assert whole is not None
        return {
            "score": whole,
            "kind": {"text": "words", "image": "picture"}.get(modality, "sound"),
            "names": list(map(escape_surrogates, cut.names)),
            "drops": [None if without is None else whole - without for without in scores[1:]],
            "shape": cut.shape,
        }

    async def draw(self, *, centred: bool) -> dict[str, Any]:
        """Lay the rows of the index out on a plane."""
        return await self._run(self._draw, centred)

    @property
    def _index(self) -> Shelf:
        if self._shelf is None:
            raise RequestError(
                "no index is open here", status=404, code="no_index", remedy="start the server with --index"
            )
        return self._shelf

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        async with self._turns:
            return await asyncio.to_thread(function, *arguments)

    async def _read(self, target: Target, request: Request) -> tuple[Vectored, str | None]:
        """Read the vectors of an encoded item, and its key where it is a row of the index."""
        if target.key:
            key = unescape_surrogates(target.key)
            rows = await self._run(self._index.find, [key])
            return rows.embeddings, key
        if target.vector is None:
            raise RequestError("neither a key nor a vector is given", status=422, code="invalid_shape")
        service = self._gateway.choose(request)
        return self._embeddings(service, target.modality, target.vector.read(service.space.dim)), None

    def _embeddings(self, service: Service, modality: str, vectors: Vectors) -> Vectored:
        if modality not in service.modalities:
            raise UnknownModalityError("the space has no encoder for this modality")
        space = service.space
        if space.spec(space.key(modality, QUERY)).outputs == "many":
            return MultiEmbeddings(vectors, [len(vectors)], space=space.id, modality=modality)
        return Embeddings(vectors[:1], space=space.id, modality=modality)

    async def _cut(self, asked: EmbedAsk, service: Service) -> tuple[str, Parts]:
        """Cut an item into parts; a row of the index is read again from where its key leads."""
        limits = service.space.limits
        if asked.key:
            key = unescape_surrogates(asked.key)
            (modality,) = (await self._run(self._index.find, [key])).modalities
            return modality, await self._run(cut_item, modality, key, limits)
        modality, item = asked.modality, asked.item
        if modality not in service.modalities:
            raise UnknownModalityError("the space has no encoder for this modality")
        spec = find_modality(modality)
        if spec is not None and spec.inline:
            return modality, await self._run(cut_item, modality, item, limits)
        return modality, await self._run(
            lambda: cut_item(modality, read_data_uri(item, modality, limits), limits)
        )

    def _preview(self, keys: Sequence[str]) -> list[dict[str, Any]]:
        rows = self._index.find(keys)
        modalities = dict(zip(rows.embeddings.keys or (), rows.modalities, strict=True))
        return [_describe_preview(self._index.preview(modalities[key], key)) for key in keys]

    def _draw(self, centred: bool) -> dict[str, Any]:
        index = self._index.index
        state = index.state()
        count = sum(state.rows.values())
        if not 0 < count <= POINTS:
            raise RequestError(
                f"the index has {count} rows, and the page draws 1 to {POINTS}",
                status=422,
                code="too_many_rows",
                remedy="draw it by `mmencode map`" if count else "add some",
            )
        rows = index.rows()
        named = dict.fromkeys(name for row in rows.metadata for name in row)
        colourings = ["modality", *list(named)[:COLOURINGS]]
        if count <= CLUSTERED and find_spec("sklearn") is not None:
            colourings.append("cluster")
        found = survey(rows, by=colourings, centre=centred)
        return {
            "about": found.layout.describe(),
            "points": draw_points(found, {}),
            "keys": list(map(escape_surrogates, found.keys)),
            "modalities": found.modalities,
        }


def _show_labels(scored: Classification) -> dict[str, Any]:
    """List the labels of one item, best first, with probabilities where the space has a scale for them."""
    places = {label: place for place, label in enumerate(scored.labels)}
    chances = scored.probabilities()[0].tolist() if scored.has_probabilities else None
    return {
        "labels": [
            {"label": label, "score": score, "probability": chances and chances[places[label]]}
            for label, score in scored.top(len(scored.labels))[0]
        ]
    }


def _vectors_of(embeddings: Vectored) -> Vectors:
    vectors: Vectors = embeddings.vectors
    return vectors


def _compare(first: Vectors, second: Vectors) -> float:
    """The cosine of two vectors; of many, the mean over those of the first of the best with the second."""
    return float((np.atleast_2d(first) @ np.atleast_2d(second).T).max(axis=1).mean())


def _describe_modality(name: str) -> dict[str, Any]:
    spec = find_modality(name)
    if spec is None:
        return {"name": name, "endings": [], "written": False}
    optional = [ending for ending, module, _ in spec.optional if find_spec(module) is not None]
    return {"name": name, "endings": [*spec.endings, *optional], "written": spec.inline}


def _describe_preview(preview: Preview) -> dict[str, Any]:
    return {
        name: escape_surrogates(value) if isinstance(value, str) else value
        for name, value in asdict(preview).items()
    }
