"""How well vectors find their partners: recall, ranks, and what chance would give."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import inf, sqrt
from typing import Any, Literal

import numpy as np

DEPTHS = (1, 5, 10)
_SIGMAS = 3.1  # of the mean rank: once in a thousand by chance
EQUAL = 1e-6  # what float32 doesn't tell apart among cosines
_BLOCK = 2**24  # scores held at once: 64 MiB
Rows = np.ndarray[Any, np.dtype[np.float32]]
Numbers = np.ndarray[Any, np.dtype[np.float64]]
Places = np.ndarray[Any, np.dtype[np.int64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]
Truth = Literal["partners", "queries"]


@dataclass(frozen=True, slots=True)
class Recall:
    """How often an item's own partner is among the first k of all candidates, in one direction.

    at, chance   k to the share, of 1, and to that of a blind guess, which puts the candidates in any order
    interval     95 % of the share at 1 (Wilson 1927)
    sigmas       how far the partners' mean rank lies above that of blind guesses, in its standard deviations
    """

    count: int
    at: Mapping[int, float]
    chance: Mapping[int, float]
    interval: tuple[float, float]
    sigmas: float

    @property
    def above_chance(self) -> bool:
        """Whether the ranks could hardly be those of blind guesses."""
        return self.sigmas > _SIGMAS

    def __str__(self) -> str:
        shares = ", ".join(
            f"recall@{k} {100 * share:.1f} % (chance {100 * self.chance[k]:.1f} %)"
            for k, share in self.at.items()
        )
        low, high = self.interval
        return f"{shares}; @1 with 95 % between {100 * low:.1f} and {100 * high:.1f} %"

    def to_dict(self) -> dict[str, Any]:
        """As plain values, which come back from JSON as they are."""
        shares = {
            name: {str(k): share for k, share in getattr(self, name).items()} for name in ("at", "chance")
        }
        return {**asdict(self), **shares, "interval": list(self.interval)}


def recall(groups: Iterable[tuple[Rows, Rows]], *, truth: Truth = "partners") -> Recall:
    """Of unit rows `[n, dim]` and their partners `[n, dim]`; each group is searched by itself.

    Equal rows of the side `truth` are one and the same item, whose partners are partners of them all: two
    photographs with one caption find it both, and the caption finds either. Where others have a partner's
    score, it counts as their order were drawn.

    Raises ValueError for rows of other shapes, and for some that aren't finite.
    """
    hits, blind = dict.fromkeys(DEPTHS, 0.0), dict.fromkeys(DEPTHS, 0.0)
    count, above, variance = 0, 0.0, 0.0
    for queries, partners in groups:
        _require_rows(queries, partners)
        ranks = _ranks(queries, partners, truth)
        count += len(queries)
        found, spread = _evidence(ranks, shared=truth == "queries")
        above, variance = above + found, variance + spread
        candidates = np.full(len(queries), len(queries))
        for k in DEPTHS:
            hits[k] += float(drawn(ranks.beside + ranks.best, ranks.best, k - ranks.before).sum())
            blind[k] += float(drawn(candidates, ranks.partners, np.full(len(queries), k)).sum())
    at = {k: hits[k] / max(1, count) for k in DEPTHS}
    chance = {k: blind[k] / max(1, count) for k in DEPTHS}
    return Recall(count, at, chance, _wilson(at[1], count), above / sqrt(variance) if variance else 0.0)


def _require_rows(queries: Rows, partners: Rows) -> None:
    if queries.ndim != 2 or queries.shape != partners.shape:
        raise ValueError(f"rows of shapes {queries.shape} and {partners.shape}: make both [n, dim]")
    if not (np.isfinite(queries).all() and np.isfinite(partners).all()):
        raise ValueError("some rows aren't finite: leave them out")


@dataclass(slots=True)
class _Ranks:
    """For each query, numbers of candidates `[n]`.

    partners   those that are right
    best       of these the ones with the highest score
    before     others with a higher one; `beside` with that one
    own        others before the query's own partner, those with its score as halves
    doubles    over all others the sum of how many candidates equal each of them, itself included
    """

    partners: Numbers
    best: Numbers
    before: Numbers
    beside: Numbers
    own: Numbers
    doubles: Numbers


def _ranks(queries: Rows, partners: Rows, truth: Truth) -> _Ranks:
    count = len(queries)
    ranks = _Ranks(*np.empty((6, count)))
    copies = np.concatenate(
        [np.empty(0), *(_equal(partners, places).sum(1) for places in blocks(count, count))]
    )
    for places in blocks(count, count):
        scores = queries[places] @ partners.T  # [block, n]
        right = _equal(partners if truth == "partners" else queries, places)
        ahead = scores - np.where(right, scores, -inf).max(axis=1, keepdims=True)
        ahead_of_own = scores - scores[np.arange(len(places)), places][:, None]
        tied, tied_with_own = np.abs(ahead) <= EQUAL, np.abs(ahead_of_own) <= EQUAL
        ranks.partners[places] = right.sum(axis=1)
        ranks.best[places] = (right & tied).sum(axis=1)
        ranks.before[places] = (~right & ~tied & (ahead > 0)).sum(axis=1)
        ranks.beside[places] = (~right & tied).sum(axis=1)
        before_own = ~tied_with_own & (ahead_of_own > 0)
        ranks.own[places] = (~right & before_own).sum(axis=1) + (~right & tied_with_own).sum(axis=1) / 2
        ranks.doubles[places] = ~right @ copies
    return ranks


def blocks(queries: int, candidates: int) -> Iterator[Places]:
    """The places of all queries, as many at a time as scores with all candidates may be held of."""
    step = max(1, _BLOCK // max(1, candidates))
    return (np.arange(start, min(start + step, queries)) for start in range(0, queries, step))


def _equal(rows: Rows, places: Places) -> Flags:
    """Which rows those at some places equal, `[places, n]`."""
    equal: Flags = rows[places] @ rows.T > 1 - EQUAL
    equal[np.arange(len(places)), places] = True  # of a row of zeros, too
    return equal


def _evidence(ranks: _Ranks, *, shared: bool) -> tuple[float, float]:
    """How far ranks lie above the middle of the candidates that are no partners, summed, and its variance.

    Each is a share of these candidates. To a blind guess a partner's rank among the distinct others is
    uniform; m others that are one and the same item come together, as one of the weight m. The partners of
    one query, which its equals share, are ranked among the same others.
    """
    others = len(ranks.partners) - ranks.partners
    some = others > 0
    weights = ranks.doubles[some] / others[some] ** 2
    together = ranks.partners[some] - 1 if shared else 0
    share = ranks.own[some] / others[some]
    return float((0.5 - share).sum()), float((1 / 12 + weights / 6 + together * weights / 12).sum())


def drawn(candidates: Numbers, same: Numbers, draws: Numbers) -> Numbers:
    """The probability that so many draws, at most as many as candidates, give one that is the `same`.

    Each `[n]`: of n sets of candidates, drawn from without putting back.
    """
    missed = np.ones(len(same))
    for done in range(int(np.max(draws, initial=0))):
        left = np.maximum(candidates - done, 1)
        missed *= np.where(done < draws, np.clip((left - same) / left, 0, 1), 1)
        if not missed.any():
            break
    return 1 - missed


def _wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    if not count:
        return 0.0, 1.0
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))  # rounding moves ends
