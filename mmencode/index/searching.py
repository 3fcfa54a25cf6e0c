"""The nearest rows: by LanceDB, or by one pass over all vectors where that is quicker or needed.

Whichever found them, scores are cosines computed anew from the vectors in one way, and equal ones are ranked
by key: the same rows come in the same order, whatever k is and however many queries there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..card import SpaceCard
from ..embeddings.array_types import Vectors
from ..embeddings.surrogates import escape_surrogates, unescape_surrogates
from ..embeddings.topk import Nearest, cosines
from ..embeddings.unit import scale_to_unit
from ..errors import UnknownModalityError
from .ann import METRIC, PARTITIONS, REFINED
from .columns import metadata_names, metadata_of, vectors_of
from .results import Hit
from .sql import all_of, is_one_of, quote
from .store import BLOCK, Store

FEW = 4  # queries up to which LanceDB is quicker than one pass for all of them
MARGIN = 1e-5  # more than LanceDB's distances err by
_LEAST, _GROWTH, _MOST = 32, 8, 65_536  # rows asked for beyond the k best, while these are alike
_PIECE, _QUERIES = 8192, 1024
_CANDIDATES, _WIDER = 128, 4  # asked of an approximate index at least, and times k where all are scored anew
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


@dataclass(frozen=True, slots=True)
class _Found:
    """A row of a query: its escaped key, its score, and what is known of it."""

    key: str
    score: float
    modality: str
    metadata: Mapping[str, Any]

    @property
    def rank(self) -> tuple[float, str]:
        """What rows are sorted by."""
        return -self.score, self.key

    def hit(self) -> Hit:
        """The row as callers get it."""
        return Hit(
            unescape_surrogates(self.key), unescape_surrogates(self.modality), self.score, self.metadata
        )


def find(store: Store, query: Query) -> list[list[Hit]]:
    """The best rows of each query, best first, equal ones in the order of their keys."""
    with store.reading("searched"):
        vectors = query.vectors if query.means is None else _centred_queries(query)
        if not query.exact and store.method():
            found = [_approximate(store, query, vector) for vector in vectors]
        elif query.means is None and len(vectors) <= FEW:
            found = [_exact(store, query, vector) for vector in vectors]
        else:
            found = _by_pass(store, query, vectors)
        return [[row.hit() for row in rows] for rows in found]


def within(among: str | Iterable[str] | None, held: Sequence[str], card: SpaceCard) -> str | None:
    """The condition that rows are of these modalities; None where it leaves out nothing that is `held`.

    UnknownModalityError for one that neither the rows nor the space have.
    """
    if among is None:
        return None
    named = [among] if isinstance(among, str) else list(among)
    known = {*held, *(tower.modality for tower in card.towers)}
    if unknown := [modality for modality in named if modality not in known]:
        raise UnknownModalityError(
            f"the index has no rows of {unknown[0]!r}, and its space no such encoder",
            remedy=f"it has rows of {', '.join(held) or 'no modality yet'}",
        )
    return None if set(held) <= set(named) else is_one_of("modality", map(escape_surrogates, named))


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


def _exact(store: Store, query: Query, vector: Vectors) -> list[_Found]:
    """By LanceDB, which is asked for more until the last of them is clearly behind the k-th."""
    more = _LEAST
    while more <= _MOST:
        asked = query.k + more
        table = _nearest(store, vector, query.where, exact=True).limit(asked).to_arrow()
        distances = table.column("_distance").to_numpy()
        whole = table.num_rows < asked
        if whole or distances[-1] - distances[query.k - 1] > MARGIN:
            return _ranked(table, vector, None)[: query.k]
        more *= _GROWTH
    return _by_pass(store, query, vector[None])[0]


def _approximate(store: Store, query: Query, vector: Vectors) -> list[_Found]:
    """Candidates by the approximate index, scored by their own vectors, centred where that is asked for."""
    if query.means is None:
        parts: list[str | None] = [query.where]
        asked = max(_CANDIDATES, query.k)
    else:  # of each modality, since its mean moves all of its rows alike
        parts = [all_of(query.where, f"modality = {quote(modality)}") for modality in query.means]
        asked = max(_CANDIDATES, _WIDER * query.k)
    found: list[_Found] = []
    for where in parts:
        table = _nearest(store, vector, where, exact=False).limit(asked).to_arrow()
        found += _ranked(table, vector, query.means)
    return sorted(found, key=lambda row: row.rank)[: query.k]


def _nearest(store: Store, vector: Vectors, where: str | None, *, exact: bool) -> Any:
    """LanceDB's search; where a condition leaves few rows, it goes on until it has found enough."""
    search = store.rows.search(vector, vector_column_name="vector").distance_type(METRIC)
    search = search.bypass_vector_index() if exact else search.nprobes(PARTITIONS).refine_factor(REFINED)
    if where is not None:
        search = (search if exact else search.maximum_nprobes(0)).where(where, prefilter=True)
    names = ["key", "modality", *metadata_names(store.latest.schema), "vector", "_distance"]
    return search.select(names)


def _ranked(table: Any, vector: Vectors, means: Means | None) -> list[_Found]:
    """The rows of a table with their scores, best first."""
    if not table.num_rows:
        return []
    table = table.combine_chunks()
    scores = cosines(vector[None], _rows(table, means))[0].tolist()
    keys, modalities = table.column("key").to_pylist(), table.column("modality").to_pylist()
    found = map(_Found, keys, scores, modalities, metadata_of(table))
    return sorted(found, key=lambda row: row.rank)


def _by_pass(store: Store, query: Query, vectors: Vectors) -> list[list[_Found]]:
    found: list[list[_Found]] = []
    for start in range(0, len(vectors), _QUERIES):
        found += _passed(store, query, vectors[start : start + _QUERIES])
    return found


def _passed(store: Store, query: Query, vectors: Vectors) -> list[list[_Found]]:
    """Score all rows, a piece at a time, and keep each query's best, and one more to see a tie at the end."""
    import pyarrow as pa

    keys: list[Any] = []
    nearest = Nearest(vectors, query.k + 1)
    for batch in _batches(store, query.where, ["key", "modality", "vector"]):
        keys.append(batch.column("key"))
        nearest.add(_rows(batch, query.means))
    names = pa.chunked_array(keys, pa.string()).take(pa.array(nearest.places.ravel())).to_pylist()
    best = np.array(names, object).reshape(nearest.places.shape)
    scored = [
        dict(zip(row, scores, strict=True))
        for row, scores in zip(best.tolist(), nearest.scores.tolist(), strict=True)
    ]
    _join_ties(store, query, vectors, scored)
    chosen = [sorted(row.items(), key=lambda entry: (-entry[1], entry[0]))[: query.k] for row in scored]
    return _looked_up(store, chosen)


def _join_ties(store: Store, query: Query, vectors: Vectors, scored: Sequence[dict[str, float]]) -> None:
    """Add what ties with the k-th row of a query and isn't there, by another pass over all rows."""
    bars = {
        line: ranked[query.k - 1]
        for line, row in enumerate(scored)
        if len(ranked := sorted(row.values(), reverse=True)) > query.k
        and ranked[query.k] == ranked[query.k - 1]
    }
    if not bars:
        return
    lines = list(bars)
    heights = np.array([bars[line] for line in lines], np.float32)[:, None]
    for batch in _batches(store, query.where, ["key", "modality", "vector"]):
        scores = cosines(vectors[lines], _rows(batch, query.means))
        keys = batch.column("key")
        for line, place in zip(*np.nonzero(scores == heights), strict=True):
            scored[lines[line]][keys[int(place)].as_py()] = float(scores[line, place])


def _looked_up(store: Store, chosen: Sequence[Sequence[tuple[str, float]]]) -> list[list[_Found]]:
    """Rows with all that is known of them; one that was deleted meanwhile is none."""
    names = ["key", "modality", *metadata_names(store.latest.schema)]
    known: dict[str, tuple[str, Mapping[str, Any]]] = {}
    asked = sorted({key for row in chosen for key, _ in row})
    for start in range(0, len(asked), BLOCK):
        condition = is_one_of("key", asked[start : start + BLOCK])
        found = store.rows.search().where(condition).select(names).to_arrow()
        sides = (found.column(name).to_pylist() for name in ("key", "modality"))
        known |= {key: (kind, said) for key, kind, said in zip(*sides, metadata_of(found), strict=True)}
    return [[_Found(key, score, *known[key]) for key, score in row if key in known] for row in chosen]


def _batches(store: Store, where: str | None, names: Sequence[str]) -> Iterator[Any]:
    search = store.rows.search()
    if where is not None:
        search = search.where(where)
    with suppress(StopIteration):
        yield from search.select(list(names)).to_batches(_PIECE)


def _rows(batch: Any, means: Means | None) -> Vectors:
    """The vectors of a batch, centred where there are means."""
    vectors = vectors_of(batch.column("vector"))
    if means is None:
        return vectors
    modalities = np.array(batch.column("modality").to_pylist(), dtype=object)
    centred = vectors.copy()
    for modality in set(modalities.tolist()) & means.keys():
        centred[modalities == modality] -= means[modality]
    return scale_to_unit(centred)


def _centred_queries(query: Query) -> Vectors:
    mean = (query.means or {}).get(query.modality)
    return query.vectors if mean is None else scale_to_unit(query.vectors - mean)
