"""The recall of vectors that belong together, such as those of images and captions, beside chance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import inf, isfinite, sqrt
from typing import Any, Literal

import numpy as np

from ..embeddings.array_types import Flags, Numbers, Positions, Vectors

DEPTHS = (1, 5, 10)
_SIGMAS = 3.1  # standard deviations of the mean rank: chance exceeds them once in a thousand times
EQUAL = 1e-6  # cosines in float32 that differ by less count as equal
BLOCK = 2**24  # scores held at once: 64 MiB
Truth = Literal["partners", "queries"]


@dataclass(frozen=True, slots=True)
class Recall:
    """Recall in one direction: the share of items whose own partner is among the first k of all candidates.

    at, chance   from k to the share, and to that of a blind guess, which puts the candidates in any order
    interval     95 % confidence interval of the share at 1 (Wilson 1927)
    sigmas       distance of the partners' mean rank from that of blind guesses, in standard deviations
    """

    count: int
    at: Mapping[int, float]
    chance: Mapping[int, float]
    interval: tuple[float, float]
    sigmas: float

    @property
    def above_chance(self) -> bool:
        """Whether the ranks are so good that blind guesses reach them less than once in a thousand times."""
        return self.sigmas > _SIGMAS

    def __str__(self) -> str:
        shares = ", ".join(
            f"recall@{k} {100 * share:.1f} % (chance {100 * self.chance[k]:.1f} %)"
            for k, share in self.at.items()
        )
        low, high = self.interval
        return f"{shares}; @1 with 95 % between {100 * low:.1f} and {100 * high:.1f} %"

    def to_dict(self) -> dict[str, Any]:
        """Convert the recall to plain values, which JSON keeps as they are."""
        shares = {
            name: {str(k): share for k, share in getattr(self, name).items()} for name in ("at", "chance")
        }
        return {**asdict(self), **shares, "interval": list(self.interval)}


def recall(groups: Iterable[tuple[Vectors, Vectors]], *, truth: Truth = "partners") -> Recall:
    """Measure how often unit rows `[n, dim]` find their partners `[n, dim]`, searching each group by itself.

    Equal rows on the side `truth` are one item, and the partners of one row are right for all its equals.
    So two photographs with one caption both find it, and the caption finds either. Where other candidates
    have a partner's score, the order of equal ones counts as if it were drawn.

    Raises ValueError for rows of different shapes, and for rows that aren't finite.
    """
    hits, blind = dict.fromkeys(DEPTHS, 0.0), dict.fromkeys(DEPTHS, 0.0)
    count, above, variance = 0, 0.0, 0.0
    for queries, partners in groups:
        _require_rows(queries, partners)
        ranks = _ranks(queries, partners, truth)
        count += len(queries)
        excess, spread = _excess(ranks, shared=truth == "queries")
        above, variance = above + excess, variance + spread
        candidates = np.full(len(queries), len(queries))
        for k in DEPTHS:
            hits[k] += float(hit_probability(ranks.beside + ranks.best, ranks.best, k - ranks.before).sum())
            blind[k] += float(hit_probability(candidates, ranks.partners, np.full(len(queries), k)).sum())
    at = {k: hits[k] / max(1, count) for k in DEPTHS}
    chance = {k: blind[k] / max(1, count) for k in DEPTHS}
    return Recall(count, at, chance, _wilson(at[1], count), above / sqrt(variance) if variance else 0.0)


def judge_report(report: Mapping[str, Any]) -> Literal["above chance", "not above chance", "not measured"]:
    """Judge the report of a fit, whose recall of held-out items counts in every direction that it states.

    A part that is called "held_out" counts as well. Anything that says no sigmas is no measure.
    """
    whole = [report, *(part for part in [report.get("held_out")] if isinstance(part, Mapping))]
    sides = [part.get(side) for part in whole for side in ("forward", "backward") if side in part] or [report]
    found = [side.get("sigmas") if isinstance(side, Mapping) else None for side in sides]
    sigmas = [value for value in found if isinstance(value, float) and isfinite(value)]
    if len(sigmas) < len(sides):
        return "not measured"
    return "above chance" if min(sigmas) > _SIGMAS else "not above chance"


def _require_rows(queries: Vectors, partners: Vectors) -> None:
    if queries.ndim != 2 or queries.shape != partners.shape:
        raise ValueError(
            f"queries and partners have shapes {queries.shape} and {partners.shape}: make both [n, dim]"
        )
    if not (np.isfinite(queries).all() and np.isfinite(partners).all()):
        raise ValueError("some vectors aren't finite: leave them out")


@dataclass(slots=True)
class _Ranks:
    """Counts of candidates for each query, `[n]`.

    partners   candidates that are right answers
    best       of the partners those with the highest score
    before     wrong candidates with a higher score than that; `beside` with the same score
    own        wrong candidates ahead of the query's own partner; those with its score count a half
    doubles    summed over the wrong candidates, how many candidates equal each one, itself included
    """

    partners: Numbers
    best: Numbers
    before: Numbers
    beside: Numbers
    own: Numbers
    doubles: Numbers


def _ranks(queries: Vectors, partners: Vectors, truth: Truth) -> _Ranks:
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


def blocks(queries: int, candidates: int) -> Iterator[Positions]:
    """Cut the places of queries into blocks of at most BLOCK scores, 64 MiB, against all candidates."""
    step = max(1, BLOCK // max(1, candidates))
    return (np.arange(start, min(start + step, queries)) for start in range(0, queries, step))


def _equal(rows: Vectors, places: Positions) -> Flags:
    """Whether the rows at some places equal each of all rows, `[places, n]`."""
    equal: Flags = rows[places] @ rows.T > 1 - EQUAL
    equal[np.arange(len(places)), places] = True  # a row of zeros has the cosine 0 with itself
    return equal


def _excess(ranks: _Ranks, *, shared: bool) -> tuple[float, float]:
    """The sum over queries of how far the own partner ranks above the middle, and its variance by chance.

    A rank is a share of the wrong candidates. For a blind guess the rank of a partner among the distinct
    wrong candidates is uniform; m wrong candidates that are one item come together, as one of weight m.
    Queries that are equal share their partners (`shared`), which are ranked among the same wrong candidates,
    so that these ranks vary together.
    """
    others = len(ranks.partners) - ranks.partners
    some = others > 0
    weights = ranks.doubles[some] / others[some] ** 2
    together = ranks.partners[some] - 1 if shared else 0
    share = ranks.own[some] / others[some]
    return float((0.5 - share).sum()), float((1 / 12 + weights / 6 + together * weights / 12).sum())


def hit_probability(candidates: Numbers, right: Numbers, draws: Numbers) -> Numbers:
    """The probability that `draws` candidates, drawn without replacement, include one of the right ones.

    All are `[n]`, for n sets of candidates of which `right` are right answers.
    """
    missed = np.ones(len(right))
    for done in range(int(np.max(draws, initial=0))):
        left = np.maximum(candidates - done, 1)
        missed *= np.where(done < draws, np.clip((left - right) / left, 0, 1), 1)
        if not missed.any():
            break
    return 1 - missed


def _wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    if not count:
        return 0.0, 1.0
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, min(share, centre - half)), min(
        1.0, max(share, centre + half)
    )  # rounding may move the ends past the share
