"""The search for the nearest rows: in memory, by LanceDB, or by one pass over all vectors on disk.

All score in one way: scores are computed anew from the vectors, and equal ones are ranked by key. So the
same rows come in the same order, whatever k is and however many queries are searched at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..card import SpaceCard
from ..embeddings.array_types import Numbers, Positions, Vectors
from ..embeddings.surrogates import escape_surrogates, unescape_surrogates
from ..errors import UnknownModalityError
from .ann import CANDIDATE_ITEMS, CANDIDATES, METRIC, search_approximately
from .columns import metadata_of, vectors_of
from .resident import FEW
from .results import Hit
from .scoring import Means, Queries
from .snapshot import Snapshot
from .sql import all_of, is_one_of, quote
from .store import Store
from .tables import KEYS_IN_CONDITION

MARGIN = 1e-5  # more than LanceDB's distances err by
_LEAST, _GROWTH, _MOST = 32, 8, 65_536  # rows asked for beyond the k best, while their distances are alike
_SCANNED, _QUERIES = 8192, 1024  # rows that the means are of, and queries that a pass scores, at once
_WIDER = 4  # multiple of k that are candidates of an approximate search by group


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchRequest:
    """The queries of a search, how many rows each is to get, and among which rows.

    queries  of one vector each, or of many
    k        number of rows for each query
    where    a checked condition on the rows, None for all
    exact    whether the approximate index is left out
    """

    queries: Queries
    k: int
    where: str | None = None
    exact: bool = False


@dataclass(frozen=True, slots=True)
class _Scored:
    """A row with its score for a query; key and modality are escaped."""

    key: str
    score: float
    modality: str
    metadata: Mapping[str, Any]

    @property
    def rank(self) -> tuple[float, str]:
        """The value that rows are sorted by: best scores first, equal ones by key."""
        return -self.score, self.key

    def hit(self) -> Hit:
        """Unescape the row for the caller."""
        key, modality = unescape_surrogates(self.key), unescape_surrogates(self.modality)
        return Hit(key, modality, self.score, self.metadata)


def search_rows(store: Store, request: SearchRequest) -> list[list[Hit]]:
    """Find the best rows of each query, best first, equal ones in the order of their keys."""
    with store.reading("searched"):
        in_memory = _search_in_memory(store, request)
        if in_memory is not None:
            return in_memory
        request = replace(request, k=min(request.k, max(1, store.count())))
        queries = request.queries
        singly = [queries.pick([line]) for line in range(len(queries))]
        if not request.exact and store.method():
            found = [_search_approximately(store, request, query) for query in singly]
        elif queries.plain is not None and len(queries) <= FEW:
            found = [_search_exactly(store, request, query) for query in singly]
        else:
            found = _search_by_pass(store, request, queries)
        return [[row.hit() for row in rows] for rows in found]


def among_condition(among: str | Iterable[str], held: Sequence[str], card: SpaceCard) -> str | None:
    """Make the condition that rows are of these modalities; None where it would leave out none of `held`.

    Raises UnknownModalityError for one that neither the rows nor the space have.
    """
    wanted = [among] if isinstance(among, str) else list(among)
    known = {*held, *(tower.modality for tower in card.towers if not tower.role)}
    if unknown := [modality for modality in wanted if modality not in known]:
        raise UnknownModalityError(
            f"the index has no rows of {unknown[0]!r}, and its space no encoder for it",
            remedy=f"it has rows of {', '.join(held) or 'no modality yet'}",
        )
    return None if set(held) <= set(wanted) else is_one_of("modality", map(escape_surrogates, wanted))


def mean_vectors(store: Store) -> Means:
    """Compute the mean of each modality's vectors; the modalities are escaped."""
    sums: dict[str, Numbers] = {}
    counts: dict[str, int] = {}
    with store.reading():
        for batch in _scan(store, None, ["modality", "vector"]):
            modalities = np.array(batch.column("modality").to_pylist(), dtype=object)
            vectors = vectors_of(batch.column("vector"))
            for modality in set(modalities.tolist()):
                chosen = vectors[modalities == modality]
                sums[modality] = sums.get(modality, 0) + chosen.sum(axis=0, dtype=np.float64)
                counts[modality] = counts.get(modality, 0) + len(chosen)
    return {modality: (total / counts[modality]).astype(np.float32) for modality, total in sums.items()}


def _search_in_memory(store: Store, request: SearchRequest) -> list[list[Hit]] | None:
    """Find the best rows of queries among those in memory; None where there are none."""
    vectors = request.queries.plain
    if vectors is None or (not request.exact and store.method()):
        return None
    snapshot = store.resident.take(len(vectors))
    if snapshot is None:
        return None
    among = None if request.where is None else snapshot.mark(request.where)
    if request.where is not None and among is None:
        return None
    nearest = snapshot.nearest(vectors, min(request.k, snapshot.facts.num_rows), among)
    return _read_hits(snapshot, nearest.places, nearest.scores)


def _read_hits(snapshot: Snapshot, places: Positions, scores: Vectors) -> list[list[Hit]]:
    """Read key, modality and metadata of rows at places `[queries, k]` with their scores."""
    import pyarrow as pa

    facts = snapshot.facts.take(pa.array(places.ravel()))
    keys, modalities = (facts.column(name).to_pylist() for name in ("key", "modality"))
    sides = map(unescape_surrogates, keys), map(unescape_surrogates, modalities)
    rows = list(map(Hit, *sides, scores.ravel().tolist(), metadata_of(facts)))
    k = places.shape[1]
    return [rows[line * k : (line + 1) * k] for line in range(len(places))]


def _search_exactly(store: Store, request: SearchRequest, query: Queries) -> list[_Scored]:
    """Find the best rows of one query by LanceDB.

    LanceDB's distances err in their last digits, so that rows which are nearly alike come in any order. It is
    asked for more rows until the last of them is behind the k-th by more than that error: then none that is
    missing can be among the k best. Where thousands are alike, one pass over all rows is quicker.
    """
    more = _LEAST
    while more <= _MOST:
        asked = request.k + more
        table = _lance_search(store, query, request.where, exact=True).limit(asked).to_arrow()
        distances = table.column("_distance").to_numpy()
        has_all = table.num_rows < asked
        if has_all or distances[-1] - distances[request.k - 1] > MARGIN:
            return _score(table, query)[: request.k]
        more *= _GROWTH
    return _search_by_pass(store, request, query)[0]


def _search_approximately(store: Store, request: SearchRequest, query: Queries) -> list[_Scored]:
    """Find candidates for one query by the approximate index, and score them by their own vectors."""
    least = CANDIDATE_ITEMS if query.many else CANDIDATES
    if query.groups is None:
        conditions = [request.where]
        asked = max(least, request.k)
    else:
        # The index ranks without centring. Centring moves all rows of a modality alike, so that within each
        # modality the order changes little: candidates are drawn of each, and more of them.
        modalities = [f"modality = {quote(modality)}" for modality in query.groups]
        conditions = [all_of(request.where, modality) for modality in modalities]
        asked = max(least, _WIDER * request.k)
    found: list[_Scored] = []
    for condition in conditions:
        table = _lance_search(store, query, condition, exact=False).limit(asked).to_arrow()
        found += _score(table, query)
    return sorted(found, key=lambda row: row.rank)[: request.k]


def _lance_search(store: Store, query: Queries, where: str | None, *, exact: bool) -> Any:
    """Build LanceDB's search, which yet has no limit."""
    search = store.rows.search(query.for_lance(), vector_column_name="vector").distance_type(METRIC)
    search = search.bypass_vector_index() if exact else search_approximately(search, many=query.many)
    if where is not None:
        # 0 lets LanceDB search ever more partitions where the condition leaves few rows in the first ones.
        search = search if exact else search.maximum_nprobes(0)
        search = search.where(where, prefilter=True)
    return search.select(["key", "modality", *store.metadata_names, "vector", "_distance"])


def _score(table: Any, query: Queries) -> list[_Scored]:
    """Score the rows of a table that LanceDB found, best first."""
    if not table.num_rows:
        return []
    table = table.combine_chunks()
    scores = query.score(query.read(table))[0].tolist()
    keys, modalities = table.column("key").to_pylist(), table.column("modality").to_pylist()
    scored = map(_Scored, keys, scores, modalities, metadata_of(table))
    return sorted(scored, key=lambda row: row.rank)


def _search_by_pass(store: Store, request: SearchRequest, queries: Queries) -> list[list[_Scored]]:
    """Find the best rows of queries by scoring all rows, for so many queries at once."""
    found: list[list[_Scored]] = []
    for start in range(0, len(queries), _QUERIES):
        block = range(start, min(start + _QUERIES, len(queries)))
        found += _pass_over(store, request, queries.pick(list(block)))
    return found


def _pass_over(store: Store, request: SearchRequest, queries: Queries) -> list[list[_Scored]]:
    """Score all rows, so many at once, and keep each query's best, and one more to see a tie at the end."""
    import pyarrow as pa

    keys: list[Any] = []
    nearest = queries.nearest(request.k + 1)
    for batch in _scan(store, request.where, ["key", "modality", "vector"], queries.scanned):
        keys.append(batch.column("key"))
        nearest.add(queries.read(batch))
    places = nearest.places
    names = pa.chunked_array(keys, pa.string()).take(pa.array(places.ravel())).to_pylist()
    best = np.array(names, object).reshape(places.shape)
    scored = [
        dict(zip(row, scores, strict=True))
        for row, scores in zip(best.tolist(), nearest.scores.tolist(), strict=True)
    ]
    _add_ties(store, request, queries, scored)
    chosen = [sorted(row.items(), key=lambda entry: (-entry[1], entry[0]))[: request.k] for row in scored]
    return _look_up(store, chosen)


def _add_ties(
    store: Store, request: SearchRequest, queries: Queries, scored: Sequence[dict[str, float]]
) -> None:
    """Add, by another pass, all rows whose score is that of a query's k-th row.

    Equal scores are ranked by key, but `Nearest` keeps those that it met first. So where the k-th and the
    next row tie, rows that it dropped may have smaller keys.
    """
    bars = {
        line: ranked[request.k - 1]
        for line, row in enumerate(scored)
        if len(ranked := sorted(row.values(), reverse=True)) > request.k
        and ranked[request.k] == ranked[request.k - 1]
    }
    if not bars:
        return
    lines = list(bars)
    tied = queries.pick(lines)
    heights = np.array([bars[line] for line in lines], np.float32)[:, None]
    for batch in _scan(store, request.where, ["key", "modality", "vector"], queries.scanned):
        scores = tied.score(tied.read(batch))  # [lines, rows]
        keys = batch.column("key")
        for line, place in zip(*np.nonzero(scores == heights), strict=True):
            scored[lines[line]][keys[int(place)].as_py()] = float(scores[line, place])


def _look_up(store: Store, chosen: Sequence[Sequence[tuple[str, float]]]) -> list[list[_Scored]]:
    """Look up modality and metadata of keys with scores; rows that were deleted meanwhile are left out."""
    names = ["key", "modality", *store.metadata_names]
    known: dict[str, tuple[str, Mapping[str, Any]]] = {}
    asked = sorted({key for row in chosen for key, _ in row})
    for start in range(0, len(asked), KEYS_IN_CONDITION):
        condition = is_one_of("key", asked[start : start + KEYS_IN_CONDITION])
        table = store.rows.search().where(condition).select(names).to_arrow()
        sides = (table.column(name).to_pylist() for name in ("key", "modality"))
        known |= {key: (kind, said) for key, kind, said in zip(*sides, metadata_of(table), strict=True)}
    return [[_Scored(key, score, *known[key]) for key, score in row if key in known] for row in chosen]


def _scan(store: Store, where: str | None, names: Sequence[str], count: int = _SCANNED) -> Iterator[Any]:
    """Iterate over these columns of the rows that meet a condition, `count` rows at a time."""
    search = store.rows.search()
    if where is not None:
        search = search.where(where)
    with suppress(StopIteration):  # which LanceDB lets through, and a generator may not raise
        yield from search.select(list(names)).to_batches(count)
