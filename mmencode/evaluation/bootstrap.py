"""Samples of the items to measure, and bootstrap intervals of the figures, both by seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..arguments.counts import require_positive
from ..embeddings.array_types import Numbers

LEVEL = 0.95
Statistic = Callable[[Numbers], Numbers]


@dataclass(frozen=True, slots=True)
class Sampling:
    """The number of items to measure, None for all, and that of the resamples behind each interval.

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

    def draw(self, keys: Sequence[str]) -> list[int]:
        """Draw the sample of items, each with a key, and return their places in ascending order.

        Drawn are the items with the smallest SHA-256 of seed and key. So neither their order nor any other
        item of the data decides which of two items is taken first.
        """
        if self.sample is None or self.sample >= len(keys):
            return list(range(len(keys)))
        salt = f"{self.seed}:".encode()
        hashes = [hashlib.sha256(salt + key.encode(errors="surrogatepass")).digest() for key in keys]
        return sorted(sorted(range(len(keys)), key=lambda place: (hashes[place], place))[: self.sample])

    chosen = draw  # the former name, for a release

    def intervals(self, values: Numbers, statistic: Statistic) -> list[tuple[float, float]]:
        """Estimate the 95 % interval of each figure that `statistic` computes from rows `[n, columns]`.

        The percentile bootstrap (Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979) draws n
        rows with replacement, `resamples` times. The order of the rows changes nothing.
        """
        ordered = values[np.lexsort(values.T)]
        random = np.random.default_rng(self.seed)
        count = len(ordered)
        resampled = [statistic(ordered[random.integers(0, count, count)]) for _ in range(self.resamples)]
        tail = 50 * (1 - LEVEL)
        ends = np.percentile(resampled, (tail, 100 - tail), axis=0)  # [2, figures]
        return [(low, high) for low, high in ends.T.tolist()]
