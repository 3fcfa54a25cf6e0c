"""The vectors that an index is searched by, checked and made the queries of a search."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..arguments.counts import require_positive
from ..embeddings.embeddings import Embeddings
from ..embeddings.multi import MultiEmbeddings
from ..plugins.spec import QUERY
from .lazy_space import LazySpace
from .results import Hit
from .scoring import ManyQueries, Queries, SingleQueries
from .searching import SearchRequest, among_condition, mean_vectors, search_rows
from .sql import all_of
from .store import Store


def encode_queries(
    store: Store, space: LazySpace, modality: str, items: Iterable[Any]
) -> Embeddings | MultiEmbeddings:
    """Encode queries with the index's space, to one vector each or to many; raises as `encode`."""
    loaded = space.get()
    with space.explaining(loaded.key(modality, QUERY)):
        return (loaded.encode_multi if store.layout.many else loaded.encode)(modality, items, role=QUERY)


def accept(store: Store, space: LazySpace, given: object) -> Embeddings | MultiEmbeddings:
    """Take vectors that are to be added, pooled as the index has them; raises as `Index.add_embeddings`."""
    embeddings = store.layout.require(given, doing="added")
    space.require_vectors(embeddings, "vector", "added")
    return store.layout.fit(embeddings) if isinstance(embeddings, MultiEmbeddings) else embeddings


def find(
    store: Store,
    space: LazySpace,
    queries: object,
    k: int,
    *,
    where: str | None,
    among: str | Iterable[str] | None,
    centred: bool,
    exact: bool,
) -> list[list[Hit]]:
    """Find the `k` rows nearest to each query; raises as `Index.search_embeddings`."""
    checked = store.layout.require(queries, doing="searched")
    space.require_vectors(checked, "query", "searched")
    k = require_positive(k)
    with store.meeting(where) as condition:
        if among is not None:
            among = among_condition(among, store.modalities(), space.card)
        request = SearchRequest(
            queries=_make_queries(store, space, checked, centred=centred),
            k=k,
            where=all_of(condition, among),
            exact=exact,
        )
        return search_rows(store, request)


def _make_queries(
    store: Store, space: LazySpace, checked: Embeddings | MultiEmbeddings, *, centred: bool
) -> Queries:
    """Make the queries of a search; ValueError for a centred one of many vectors, which has no mean."""
    if isinstance(checked, MultiEmbeddings):
        if centred:
            raise ValueError(
                "a search by many vectors can't be centred: leave that out, since only single vectors have a "
                "mean for each modality"
            )
        return ManyQueries(checked, space.products_device)
    if not centred:
        return SingleQueries(checked.vectors)
    return SingleQueries.center(checked.vectors, checked.modality, mean_vectors(store))
