"""How well vectors find their partners: recall, ranks, and what chance would give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np

DEPTHS = (1, 5, 10)
_SIGMAS = 3.1  # of the mean rank: once in a thousand by chance
_EQUAL = 1e-6  # what float32 doesn't tell apart among cosines
_BLOCK = 2**24  # scores held at once: 64 MiB
Rows = np.ndarray[Any, np.dtype[np.float32]]
Numbers = np.ndarray[Any, np.dtype[np.float64]]


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


def recall(groups: Iterable[tuple[Rows, Rows]]) -> Recall:
    """Of unit rows `[n, dim]` and their partners `[n, dim]`; each group is searched by itself.

    Candidates equal to the partner are partners, too: two items with one caption find it both. Where others
    have the partner's score, it counts as their order were drawn.

    Raises ValueError for rows of other shapes, and for some that aren't finite.
    """
    hits, blind = dict.fromkeys(DEPTHS, 0.0), dict.fromkeys(DEPTHS, 0.0)
    count, above, variance = 0, 0.0, 0.0
    for queries, partners in groups:
        _require_rows(queries, partners)
        before, tied, same = _ranks(queries, partners)
        count += len(same)
        found, spread = _evidence(before + tied / 2, same)
        above, variance = above + found, variance + spread
        for k in DEPTHS:
            hits[k] += float(_drawn(tied + same, same, k - before).sum())
            blind[k] += float(_drawn(np.full(len(same), len(same)), same, np.full(len(same), k)).sum())
    at = {k: hits[k] / max(1, count) for k in DEPTHS}
    chance = {k: blind[k] / max(1, count) for k in DEPTHS}
    return Recall(count, at, chance, _wilson(at[1], count), above / sqrt(variance) if variance else 0.0)


def _require_rows(queries: Rows, partners: Rows) -> None:
    if queries.ndim != 2 or queries.shape != partners.shape:
        raise ValueError(f"rows of shapes {queries.shape} and {partners.shape}: make both [n, dim]")
    if not (np.isfinite(queries).all() and np.isfinite(partners).all()):
        raise ValueError("some rows aren't finite: leave them out")


def _ranks(queries: Rows, partners: Rows) -> tuple[Numbers, Numbers, Numbers]:
    """For each query, how many candidates come before its partner, how many beside it, how many are it."""
    ranks = np.empty((3, len(queries)))
    step = max(1, _BLOCK // max(1, len(partners)))
    for start in range(0, len(queries), step):
        places = np.arange(start, min(start + step, len(queries)))
        scores = queries[places] @ partners.T  # [step, n]
        alike = partners[places] @ partners.T > 1 - _EQUAL
        alike[places - start, places] = True  # of a row of zeros, too
        ahead = scores - scores[places - start, places][:, None]
        tied = ~alike & (np.abs(ahead) <= _EQUAL)
        before = ~alike & ~tied & (ahead > 0)
        ranks[:, places] = before.sum(axis=1), tied.sum(axis=1), alike.sum(axis=1)
    return ranks[0], ranks[1], ranks[2]


def _evidence(ranks: Numbers, same: Numbers) -> tuple[float, float]:
    """How far ranks lie above the middle of the candidates that aren't the partner, summed, and its variance.

    Each is a share of these candidates. To a blind guess a partner's rank among the distinct others is
    uniform; m others that are one and the same item come together, as one of the weight m.
    """
    others = len(same) - same
    some = others > 0
    weights = (same.sum() - same**2)[some]  # of the others, the sum of m for each of them
    share = ranks[some] / others[some]
    return float((0.5 - share).sum()), float((1 / 12 + weights / (6 * others[some] ** 2)).sum())


def _drawn(candidates: Numbers, same: Numbers, draws: Numbers) -> Numbers:
    """The probability that so many draws, ten at most, from the candidates give one that is the `same`."""
    missed = np.ones(len(same))
    for drawn in range(max(DEPTHS)):
        left = np.maximum(candidates - drawn, 1)
        missed *= np.where(drawn < draws, np.clip((left - same) / left, 0, 1), 1)
    return 1 - missed


def _wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    if not count:
        return 0.0, 1.0
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))  # rounding moves ends
