"""Cosine similarity of two results, and exact search of one by the other."""

from __future__ import annotations

from dataclasses import dataclass

from ..arguments.counts import require_positive
from ..card import require_same_space
from .array_types import Positions, Vectors
from .embeddings import Embeddings
from .topk import Nearest, cosines


def similarity(a: Embeddings, b: Embeddings) -> Vectors:
    """Cosine similarity of every row of `a` with every row of `b`, `[len(a), len(b)]`, from -1 to 1.

    A score depends on its two vectors alone. Raises SpaceMismatchError when they belong to two spaces,
    ValueError for vectors that aren't finite or not of unit length.
    """
    first, second = require_embeddings(a, "a"), require_embeddings(b, "b")
    _require_comparable(first, second, ("a", "b"), "compared")
    return cosines(first.vectors, second.vectors)


@dataclass(frozen=True, eq=False, slots=True)
class Matches:
    """The best rows of a corpus for each query, best first.

    `rows` and `scores` are `[queries, k]`; `positions` are the rows' places in the batch that the corpus was
    encoded from, which differ from the rows where items were skipped.
    """

    rows: Positions
    scores: Vectors
    positions: Positions

    def __len__(self) -> int:
        return len(self.rows)


def search(queries: Embeddings, corpus: Embeddings, k: int = 10) -> Matches:
    """Find the `k` most similar rows of the corpus for each query, by exact cosine similarity.

    `k` is cut to the size of the corpus. Equal scores keep the corpus's order, and neither `k` nor other
    queries change what comes first. Raises SpaceMismatchError when they belong to two spaces, ValueError for
    a `k` that isn't positive and for vectors that aren't finite or not of unit length.
    """
    first, second = require_embeddings(queries, "queries"), require_embeddings(corpus, "corpus")
    _require_comparable(first, second, ("queries", "corpus"), "searched together")
    nearest = Nearest(first.vectors, min(require_positive(k), len(second)))
    nearest.add(second.vectors)
    return Matches(nearest.places, nearest.scores, second.positions[nearest.places])


def require_embeddings(value: object, name: str) -> Embeddings:
    """Raise TypeError, naming the argument, for vectors that don't say what space they belong to."""
    if isinstance(value, Embeddings):
        return value
    raise TypeError(
        f"{name} is {type(value).__name__}, which doesn't say what space it belongs to: "
        "pass the Embeddings that encode() gives"
    )


def _require_comparable(a: Embeddings, b: Embeddings, names: tuple[str, str], doing: str) -> None:
    """Raise an error unless both are unit vectors of one space and width; `names` are those of arguments."""
    require_same_space(a.space, b.space, doing)
    if a.dim != b.dim:
        raise ValueError(
            f"{names[0]} and {names[1]} have vectors of {a.dim} and of {b.dim} numbers, under one space's "
            f"id, {a.space}: encode both sides again"
        )
    a.require_unit()
    b.require_unit()
