"""The search by words, in the full text of an index's columns alone or fused with the nearest vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..arguments.counts import require_positive
from ..arguments.lists import to_list, to_strings
from ..embeddings.embeddings import Embeddings
from ..embeddings.multi import MultiEmbeddings
from ..embeddings.surrogates import escape_surrogates, unescape_surrogates
from ..plugins.spec import TEXT
from .asking import encode_queries, find
from .columns import metadata_of
from .entries import KEPT
from .full_text import FullText, list_text_columns, search_words
from .fusing import Worded, fuse
from .lazy_space import LazySpace
from .reranking import Reranker, rerank_hits
from .results import RankedHit
from .searching import among_condition
from .sql import all_of
from .store import Store

LONGEST = 100_000  # characters of one query
DEPTH = 128  # rows of each list, as many as an approximate search has for any smaller k
_MORE, _MOST = 4, 65_536  # factor by which more rows are asked for while the last ones are equal


@dataclass(frozen=True, slots=True)
class WordRequest:
    """The queries of a search by words, and among which rows and columns.

    columns  the columns to look in, which have full text
    where    a user's condition, not yet checked
    among    the modalities of the rows, None for all
    """

    words: Sequence[str]
    columns: Sequence[str]
    where: str | None
    among: Sequence[str] | None

    @classmethod
    def check(
        cls,
        store: Store,
        words: Iterable[str],
        *,
        columns: str | Iterable[str] | None,
        where: str | None,
        among: str | Iterable[str] | None,
    ) -> WordRequest:
        """Check what a caller asks for; TypeError and ValueError as `Index.search_text`."""
        asked = [str.__str__(text) for text in _require_texts(words)]
        for place, text in enumerate(asked):
            if len(text) > LONGEST:
                raise ValueError(
                    f"query {place} has {len(text)} characters, and may have {LONGEST}: cut it to the words "
                    "that matter"
                )
        named = [among] if isinstance(among, str) else among
        return cls(asked, _choose_columns(store, columns), where, None if named is None else list(named))


def choose_full_text(
    store: Store, columns: str | Iterable[str], language: str, characters: int
) -> list[FullText]:
    """Check which columns are to have full text, and how; ValueError as `Index.build_full_text`."""
    with store.reading():
        known = list_text_columns(store.tables.rows.schema)
    names = [columns] if isinstance(columns, str) else to_strings(columns, "columns")
    if not names:
        raise ValueError('columns is empty: name one at least, columns="key" for texts that are their keys')
    for name in names:
        if name not in known:
            hint = "add texts with keep_text=True, or name" if name == KEPT else "name"
            raise ValueError(
                f"the index has no texts under {name!r:.100}: {hint} one of its columns of texts, which are "
                f"{', '.join(known)}"
            )
    return [FullText.choose(name, language, characters) for name in dict.fromkeys(names)]


def find_words(store: Store, space: LazySpace, request: WordRequest, k: int) -> list[list[Worded]]:
    """Find the `k` rows whose words fit each query best, by BM25, best first; equal ones by key."""
    with store.meeting(request.where) as condition:
        among = None
        if request.among is not None:
            among = among_condition(request.among, store.modalities(), space.card)
        with store.reading("searched"):
            search = _Search(store, request.columns, all_of(condition, among))
            return [search.run(escape_surrogates(text), k) for text in request.words]


def search_text(
    store: Store, space: LazySpace, request: WordRequest, k: int, rerank: Reranker | None
) -> list[list[RankedHit]]:
    """Find rows by their full text alone; raises as `Index.search_text`."""
    k = require_positive(k)
    depth = k if rerank is None else max(k, DEPTH)
    lists = find_words(store, space, request, depth)
    return _finish(request, [fuse([], rows) for rows in lists], k, depth, rerank)


def search_hybrid(
    store: Store,
    space: LazySpace,
    request: WordRequest,
    k: int,
    *,
    vectors: Embeddings | MultiEmbeddings | None,
    centred: bool,
    exact: bool,
    depth: int,
    rerank: Reranker | None,
) -> list[list[RankedHit]]:
    """Find rows by their full text and by their vectors, and fuse both; raises as `Index.search_hybrid`."""
    k = require_positive(k)
    depth = max(k, require_positive(depth, "depth"))
    if vectors is None:
        vectors = encode_queries(store, space, TEXT, request.words)
    elif store.layout.require(vectors, doing="searched") and len(vectors) != len(request.words):
        raise ValueError(
            f"{len(request.words)} queries of words have {len(vectors)} vectors beside them: give as many"
        )
    options: dict[str, Any] = {"where": request.where, "among": request.among}
    nearest = find(store, space, vectors, depth, centred=centred, exact=exact, **options)
    worded = find_words(store, space, request, depth)
    fused = [fuse(*lists) for lists in zip(nearest, worded, strict=True)]
    return _finish(request, fused, k, depth, rerank)


def _finish(
    request: WordRequest, found: Sequence[list[RankedHit]], k: int, depth: int, rerank: Reranker | None
) -> list[list[RankedHit]]:
    """Rerank the first `depth` hits of each query, and keep `k`."""
    if rerank is None:
        return [hits[:k] for hits in found]
    return [
        rerank_hits(rerank, words, hits[:depth])[:k] for words, hits in zip(request.words, found, strict=True)
    ]


def _require_texts(words: Iterable[str]) -> list[str]:
    """Take queries, of an iterable that may be read but once; TypeError for one that is no text."""
    given = to_list(words, "words", of=" of texts", once=True)
    for place, text in enumerate(given):
        if not isinstance(text, str):
            raise TypeError(f"query {place} is of type {type(text).__name__}: make it a str of words")
    return given


def _choose_columns(store: Store, columns: str | Iterable[str] | None) -> list[str]:
    """Choose the columns to look for words in, by default all that have full text; ValueError for others."""
    held = [each.column for each in store.full_text()]
    if not held:
        raise ValueError(
            "the index has no full text to find words in: index.build_full_text() makes it, or `mmencode "
            "index full-text INDEX`, out of texts that were added with keep_text=True, or of a column of "
            "metadata"
        )
    if columns is None:
        return held
    names = [columns] if isinstance(columns, str) else to_list(columns, "columns", once=True)
    for name in names:
        if name not in held:
            raise ValueError(
                f"column {name!r:.100} has no full text, which {', '.join(held)} of this index has: name one "
                "of these, or make it with index.build_full_text(columns)"
            )
    if not names:
        raise ValueError(f"columns is empty: leave it out for all that have full text, {', '.join(held)}")
    return list(dict.fromkeys(names))


@dataclass(frozen=True, slots=True)
class _Search:
    """The search of one request, for one query after the other."""

    store: Store
    columns: Sequence[str]
    condition: str | None

    def run(self, words: str, k: int) -> list[Worded]:
        """Find the best rows for one query; words that are none, such as "?!", find nothing.

        LanceDB gives equal scores in any order, so it is asked for more rows while the last of them is equal
        to the k-th: only then are those with the smallest keys among them.
        """
        asked = k + 1
        while True:
            table = self._ask(words, asked)
            ranked = sorted(table.column("_score").to_pylist(), reverse=True)
            if len(ranked) < asked or ranked[-1] < ranked[k - 1] or asked >= max(_MOST, k + 1):
                return _read(table, k)
            asked = min(asked * _MORE, max(_MOST, k + 1))

    def _ask(self, words: str, count: int) -> Any:
        search = search_words(self.store.rows, words, self.columns).limit(count)
        if self.condition is not None:
            search = search.where(self.condition, prefilter=True)
        return search.select(["key", "modality", *self.store.metadata_names, "_score"]).to_arrow()


def _read(table: Any, k: int) -> list[Worded]:
    """Read the `k` best rows of a table, best first, equal ones by key."""
    import pyarrow as pa

    keys, scores = (table.column(name).to_pylist() for name in ("key", "_score"))
    order = sorted(range(len(keys)), key=lambda place: (-scores[place], keys[place]))[:k]
    best = table.take(pa.array(order, pa.int64()))
    sides = (map(unescape_surrogates, best.column(name).to_pylist()) for name in ("key", "modality"))
    return list(map(Worded, *sides, best.column("_score").to_pylist(), metadata_of(best)))
