"""Which items are measured, and how sure the figures are: samples and resamples, by seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..arguments.counts import require_positive
from ..spaces.recall import Numbers

LEVEL = 0.95
Statistic = Callable[[Numbers], Numbers]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How many items are measured, None for all, and how often they are resampled for the intervals.

    ValueError for a sample that isn't positive and fewer than 100 resamples.
    """

    sample: int | None = None
    seed: int = 0
    resamples: int = 1000

    def __post_init__(self) -> None:
        if self.sample is not None:
            require_positive(self.sample, "sample", other="None for all items")
        if self.resamples < 100:
            raise ValueError(f"resamples is {self.resamples!r}: make it 100 or more")

    def chosen(self, keys: Sequence[str]) -> list[int]:
        """The places of the sampled items, ascending.

        They are those with the smallest SHA-256 of seed and key, so that neither the order of the items nor
        what else lies in the data changes who of two is taken first.
        """
        if self.sample is None or self.sample >= len(keys):
            return list(range(len(keys)))
        salt = f"{self.seed}:".encode()
        hashes = [hashlib.sha256(salt + key.encode(errors="surrogatepass")).digest() for key in keys]
        return sorted(sorted(range(len(keys)), key=lambda place: (hashes[place], place))[: self.sample])

    def intervals(self, values: Numbers, statistic: Statistic) -> list[tuple[float, float]]:
        """The 95 % interval of each figure that `statistic` makes of rows `[n, columns]`.

        By the percentile bootstrap (Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979): n rows
        are drawn with replacement, `resamples` times. The rows' order changes nothing.
        """
        ordered = values[np.lexsort(values.T)]
        random = np.random.default_rng(self.seed)
        count = len(ordered)
        found = [statistic(ordered[random.integers(0, count, count)]) for _ in range(self.resamples)]
        tail = 50 * (1 - LEVEL)
        ends = np.percentile(found, (tail, 100 - tail), axis=0)  # [2, figures]
        return [(low, high) for low, high in ends.T.tolist()]
