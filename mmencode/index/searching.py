"""The nearest rows: by LanceDB, or by one pass over all vectors where that is quicker or needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..embeddings import Vectors
from .ann import METRIC, PROBES, REFINED
from .columns import metadata_names, metadata_of, vectors_of
from .escaping import literal, one_of, unescape
from .results import Hit
from .store import BLOCK, Store

FEW = 4  # queries up to which LanceDB is quicker than one pass for all of them
_PIECE, _QUERIES = 8192, 1024
_WIDER = 4  # times as many candidates as are asked for, where they are scored anew
Means = Mapping[str, Vectors]


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched: unit vectors `[q, dim]`, how many rows each gets, and among which.

    `means` by modality, where rows and queries are to be centred; `modality` is that of the queries.
    """

    vectors: Vectors
    modality: str
    k: int
    where: str | None
    exact: bool
    means: Means | None = None


def find(store: Store, query: Query) -> list[list[Hit]]:
    """The best rows of each query, best first, equal ones in the order of their keys."""
    with store.reading("searched"):
        if query.means is None and len(query.vectors) <= FEW:
            return _by_lancedb(store, query)
        approximate = not query.exact and store.method() != ""
        vectors = query.vectors if query.means is None else _centred_queries(query)
        if not approximate:
            return _by_pass(store, query, vectors)
        return _by_lancedb(store, query) if query.means is None else _rescored(store, query, vectors)


def means(store: Store) -> dict[str, Vectors]:
    """The mean of each modality's vectors."""
    sums: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
    counts: dict[str, int] = {}
    with store.reading():
        for batch in _batches(store, None, ["modality", "vector"]):
            modalities = np.array(batch.column("modality").to_pylist(), dtype=object)
            vectors = vectors_of(batch.column("vector"))
            for modality in set(modalities.tolist()):
                chosen = vectors[modalities == modality]
                sums[modality] = sums.get(modality, 0) + chosen.sum(axis=0, dtype=np.float64)
                counts[modality] = counts.get(modality, 0) + len(chosen)
    return {modality: (total / counts[modality]).astype(np.float32) for modality, total in sums.items()}


def _by_lancedb(store: Store, query: Query) -> list[list[Hit]]:
    names = ["key", "modality", *metadata_names(store.latest.schema), "_distance"]
    hits: list[list[Hit]] = []
    for vector in query.vectors:
        search = _nearest(store, vector, query.where, exact=query.exact)
        found = search.select(names).limit(query.k).to_arrow()
        hits.append(_hits(found, 1 - found.column("_distance").to_numpy()))
    return hits


def _nearest(store: Store, vector: Vectors, where: str | None, *, exact: bool) -> Any:
    """LanceDB's search; where a condition leaves few rows, it goes on until it has found enough."""
    search = store.rows.search(vector, vector_column_name="vector").distance_type(METRIC)
    search = search.bypass_vector_index() if exact else search.nprobes(PROBES).refine_factor(REFINED)
    if where is None:
        return search
    return (search if exact else search.maximum_nprobes(0)).where(where, prefilter=True)


def _hits(found: Any, scores: Any) -> list[Hit]:
    keys, modalities = found.column("key").to_pylist(), found.column("modality").to_pylist()
    said = metadata_of(found)
    hits = [
        Hit(unescape(key), modality, score, facts)
        for key, modality, score, facts in zip(keys, modalities, scores.tolist(), said, strict=True)
    ]
    return sorted(hits, key=lambda hit: (-hit.score, hit.key))


def _batches(store: Store, where: str | None, names: Sequence[str]) -> Iterator[Any]:
    search = store.rows.search()
    if where is not None:
        search = search.where(where)
    with suppress(StopIteration):
        yield from search.select(list(names)).to_batches(_PIECE)


def _by_pass(store: Store, query: Query, vectors: Vectors) -> list[list[Hit]]:
    hits: list[list[Hit]] = []
    for start in range(0, len(vectors), _QUERIES):
        hits += _passed(store, query, vectors[start : start + _QUERIES])
    return hits


def _passed(store: Store, query: Query, vectors: Vectors) -> list[list[Hit]]:
    """Score all rows, a piece at a time, and keep each query's best."""
    import pyarrow as pa

    keys: list[Any] = []
    scores = np.empty((len(vectors), 0), np.float32)
    rows = np.empty((len(vectors), 0), np.int64)
    count = 0
    for batch in _batches(store, query.where, ["key", "modality", "vector"]):
        keys.append(batch.column("key"))
        found = vectors @ _rows(batch, query.means).T  # [q, b]
        places = np.broadcast_to(np.arange(count, count + batch.num_rows), found.shape)
        scores, rows = _best(np.hstack([scores, found]), np.hstack([rows, places]), query.k)
        count += batch.num_rows
    names = pa.chunked_array(keys, pa.string()).take(pa.array(rows.ravel())).to_pylist()
    return _looked_up(store, np.array(names, object).reshape(rows.shape), scores)


def _best(scores: Vectors, rows: Any, k: int) -> tuple[Vectors, Any]:
    if scores.shape[1] <= k:
        return scores, rows
    chosen = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    return np.take_along_axis(scores, chosen, axis=1), np.take_along_axis(rows, chosen, axis=1)


def _looked_up(store: Store, keys: Any, scores: Vectors) -> list[list[Hit]]:
    """Hits of keys `[q, k]` and their scores; a row that was deleted meanwhile is none."""
    names = ["key", "modality", *metadata_names(store.latest.schema)]
    known: dict[str, Hit] = {}
    asked = sorted(set(keys.ravel().tolist()))
    for start in range(0, len(asked), BLOCK):
        condition = one_of("key", asked[start : start + BLOCK])
        found = store.rows.search().where(condition).select(names).to_arrow()
        held = _hits(found, np.zeros(found.num_rows))
        known |= {hit.key: hit for hit in held}
    return [
        sorted(
            (
                Hit(hit.key, hit.modality, score, hit.metadata)
                for key, score in zip(row, given, strict=True)
                if (hit := known.get(unescape(key))) is not None
            ),
            key=lambda hit: (-hit.score, hit.key),
        )
        for row, given in zip(keys.tolist(), scores.tolist(), strict=True)
    ]


def _rows(batch: Any, means: Means | None) -> Vectors:
    """The vectors of a batch, centred where there are means."""
    vectors = vectors_of(batch.column("vector"))
    if means is None:
        return vectors
    modalities = np.array(batch.column("modality").to_pylist(), dtype=object)
    centred = vectors.copy()
    for modality in set(modalities.tolist()) & means.keys():
        centred[modalities == modality] -= means[modality]
    return _unit(centred)


def _centred_queries(query: Query) -> Vectors:
    mean = (query.means or {}).get(query.modality)
    return query.vectors if mean is None else _unit(query.vectors - mean)


def _unit(vectors: Vectors) -> Vectors:
    """Rows of length 1; a row that lies in the mean itself stays zero, and is similar to nothing."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = vectors / np.maximum(lengths, 1e-6)
    return unit


def _rescored(store: Store, query: Query, vectors: Vectors) -> list[list[Hit]]:
    """Candidates of each modality by the approximate index, scored by their own centred vectors."""
    return [_candidates(store, query, vector) for vector in vectors]


def _candidates(store: Store, query: Query, vector: Vectors) -> list[Hit]:
    names = ["key", "modality", *metadata_names(store.latest.schema), "vector", "_distance"]
    hits: list[Hit] = []
    for modality in query.means or {}:
        own = f"modality = {literal(modality)}"
        where = own if query.where is None else f"({query.where}) AND {own}"
        search = _nearest(store, vector, where, exact=False)
        found = search.select(names).limit(max(100, _WIDER * query.k)).to_arrow().combine_chunks()
        hits += _hits(found.drop_columns(["vector"]), _rows(found, query.means) @ vector)
    return sorted(hits, key=lambda hit: (-hit.score, hit.key))[: query.k]
