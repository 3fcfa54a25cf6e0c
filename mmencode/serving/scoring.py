"""Scores of items for a query: the similarity of their vectors, by MaxSim where the space has many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from starlette.requests import Request

from ..embeddings.array_types import Vectors
from ..embeddings.embeddings import Embeddings
from ..embeddings.multi import MultiEmbeddings
from ..embeddings.search import similarity
from ..embeddings.topk import best_columns
from .asking import Wanted
from .embedding import count_tokens, embed_items
from .gateway import Gateway
from .service import Service


@dataclass(frozen=True, eq=False, slots=True)
class Scored:
    """Scores `[queries, items]`, the id and the name of the space, and the tokens of all texts."""

    scores: Vectors
    space: str
    model: str
    tokens: int


async def score_items(
    gateway: Gateway,
    request: Request,
    service: Service,
    queries: Sequence[Wanted],
    items: Sequence[Wanted],
    *,
    expected: str = "",
    in_pairs: bool = False,
) -> Scored:
    """Score each item for each query as `mmencode.similarity` does, all embedded as one request.

    With `in_pairs` each item is scored for the query at its own place: `[1, items]`. Raises RequestError,
    whose items count the queries first.
    """
    wanted = [*queries, *items]
    found = await embed_items(gateway, request, service, wanted, expected=expected, single=False)
    tokens = await count_tokens(gateway, service, wanted, found.answers)
    first, second = found.vectors[: len(queries)], found.vectors[len(queries) :]
    scores = await gateway.run(_compare, first, second, found.space, in_pairs)
    return Scored(scores, found.space, found.model, tokens)


def rank(scores: Vectors, most: int | None) -> list[tuple[int, float]]:
    """List the places of one query's scores `[items]`, each with its score, best first, at most so many."""
    columns = best_columns(scores[None], len(scores) if most is None else min(most, len(scores)))[0]
    return [(place, float(scores[place])) for place in columns.tolist()]


def _compare(queries: Sequence[Vectors], items: Sequence[Vectors], space: str, in_pairs: bool) -> Vectors:
    if not in_pairs:
        return similarity(_gather(queries, space), _gather(items, space))
    pairs = zip(queries, items, strict=True)
    found = [similarity(_gather([one], space), _gather([other], space))[0, 0] for one, other in pairs]
    return np.array([found], np.float32)


def _gather(vectors: Sequence[Vectors], space: str) -> Embeddings | MultiEmbeddings:
    if vectors[0].ndim == 1:
        return Embeddings(np.stack(vectors), space=space, modality="mixed")
    counts = [len(each) for each in vectors]
    return MultiEmbeddings(np.concatenate(vectors), counts, space=space, modality="mixed")
