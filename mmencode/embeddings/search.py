"""Similarity of two results, and exact search of one by the other, of single vectors or by MaxSim."""

from __future__ import annotations

from dataclasses import dataclass

from ..arguments.brief import Brief
from ..arguments.counts import require_positive
from ..card import require_same_space
from ..errors import SpaceMismatchError
from .array_types import Positions, Vectors
from .embeddings import Embeddings
from .maxsim import NearestItems, maxsim
from .multi import MultiEmbeddings, MultiQuantised
from .token_pooling import id_before_pooling
from .topk import Nearest, cosines

Multi = MultiEmbeddings | MultiQuantised


def similarity(
    a: Embeddings | MultiEmbeddings, b: Embeddings | MultiEmbeddings, *, device: str = "cpu"
) -> Vectors:
    """Similarity of every row or item of `a` with every one of `b`, `[len(a), len(b)]`.

    Of Embeddings it is the cosine, from -1 to 1. Of MultiEmbeddings it is MaxSim, where `a` are the queries:
    the sum over a query's vectors of the highest cosine with any of an item's (Khattab and Zaharia,
    "ColBERT", SIGIR 2020), up to the number of the query's vectors. `device` computes its products, in
    float64.

    A score depends on the two alone. Raises SpaceMismatchError when they belong to two spaces or only one of
    them has many vectors for each item, ValueError for vectors that aren't finite or not of unit length.
    """
    pair = _pair_of_multi(a, b, ("a", "b"), "compared")
    if pair is not None:
        return maxsim(*pair, device=device)
    first, second = require_embeddings(a, "a"), require_embeddings(b, "b")
    _require_comparable(first, second, ("a", "b"), "compared")
    return cosines(first.vectors, second.vectors)


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Matches(Brief):
    """The best rows of a corpus for each query, best first.

    `rows` and `scores` are `[queries, k]`; `positions` are the rows' places in the batch that the corpus was
    encoded from, which differ from the rows where items were skipped.
    """

    rows: Positions
    scores: Vectors
    positions: Positions

    def __len__(self) -> int:
        return len(self.rows)


def search(
    queries: Embeddings | MultiEmbeddings,
    corpus: Embeddings | MultiEmbeddings | MultiQuantised,
    k: int = 10,
    *,
    device: str = "cpu",
) -> Matches:
    """Find the `k` most similar rows or items of the corpus for each query, exactly, as `similarity` has it.

    `k` is cut to the size of the corpus. Equal scores keep the corpus's order, and neither `k` nor other
    queries change what comes first. A corpus of MultiQuantised is turned into vectors a block at a time.
    `device`, "cuda" say, computes the products of MaxSim, and no score depends on it.
    Raises SpaceMismatchError when they belong to two spaces or only one of them has many vectors for each
    item, ValueError for a `k` that isn't positive and for vectors that aren't finite or not of unit length.
    """
    pair = _pair_of_multi(queries, corpus, ("queries", "corpus"), "searched together")
    if pair is not None:
        asked, held = pair
        found = NearestItems(asked, min(require_positive(k), len(held)), device=device)
        found.add(held)
        return Matches(found.places, found.scores, held.positions[found.places])
    first, second = require_embeddings(queries, "queries"), require_embeddings(corpus, "corpus")
    _require_comparable(first, second, ("queries", "corpus"), "searched together")
    nearest = Nearest(first.vectors, min(require_positive(k), len(second)))
    nearest.add(second.vectors)
    return Matches(nearest.places, nearest.scores, second.positions[nearest.places])


def require_embeddings(value: object, name: str) -> Embeddings:
    """Raise TypeError, naming the argument, for vectors that don't say what space they belong to.

    SpaceMismatchError for those of items that have many.
    """
    if isinstance(value, Embeddings):
        return value
    if isinstance(value, Multi):
        raise SpaceMismatchError(
            f"{name} has many vectors for each item, {value!r}, where single ones are compared",
            remedy="compare it by similarity() or search(), which take many on both sides, or take the "
            "single vectors of its mean()",
        )
    raise TypeError(
        f"{name} is {type(value).__name__}, which doesn't say what space it belongs to: "
        "pass the Embeddings that encode() gives"
    )


def _pair_of_multi(a: object, b: object, names: tuple[str, str], doing: str) -> tuple[Multi, Multi] | None:
    """Take both sides where they have many vectors for each item, of one space; None where neither has.

    SpaceMismatchError where only one has, and for two spaces. How they were pooled doesn't count: pooled
    documents are compared with queries that aren't.
    """
    kinds = isinstance(a, Multi), isinstance(b, Multi)
    if not any(kinds):
        return None
    if not (isinstance(a, Multi) and isinstance(b, Multi)):
        other, name = (b, names[1]) if kinds[0] else (a, names[0])
        require_embeddings(other, name)
        many, one = names if kinds[0] else names[::-1]
        raise SpaceMismatchError(
            f"single vectors and many can't be {doing}: {many} has many for each item, and {one} has one",
            remedy="encode both sides by encode_multi() with one space of late interaction, or both by "
            "encode() with one of single vectors",
        )
    require_same_space(id_before_pooling(a.space), id_before_pooling(b.space), doing)
    _require_one_width(a, b, names)
    for side in (a, b):
        if isinstance(side, MultiEmbeddings):  # codes stand for unit vectors
            side.require_unit()
    return a, b


def _require_comparable(a: Embeddings, b: Embeddings, names: tuple[str, str], doing: str) -> None:
    """Raise an error unless both are unit vectors of one space and width; `names` are those of arguments."""
    require_same_space(a.space, b.space, doing)
    _require_one_width(a, b, names)
    a.require_unit()
    b.require_unit()


def _require_one_width(a: Embeddings | Multi, b: Embeddings | Multi, names: tuple[str, str]) -> None:
    if a.dim != b.dim:
        raise ValueError(
            f"{names[0]} and {names[1]} have vectors of {a.dim} and of {b.dim} numbers, under one space's "
            f"id, {a.space}: encode both sides again"
        )
