"""Detection of outliers among vectors by the distance to their nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..embeddings.array_types import Numbers, Vectors
from ..embeddings.topk import highest

NEIGHBOURS = 10
THRESHOLD = 3.5
LEAST = 8  # rows of a modality; among fewer none is an outlier
BLOCK = 2**24  # similarities held at once: 64 MiB
# From a median of absolute deviations, or their mean, to the standard deviation of a normal distribution.
_MEDIAN, _MEAN = 1.4826, 1.2533
_NOISE = 1e-6  # distances between equal vectors in float32


@dataclass(frozen=True, slots=True)
class Outlier:
    """A row far from its neighbours: its mean cosine distance, also in robust deviations above the median."""

    row: int
    distance: float
    deviations: float


def find_outliers(
    vectors: Vectors,
    modalities: Sequence[str],
    *,
    neighbours: int = NEIGHBOURS,
    threshold: float = THRESHOLD,
) -> list[Outlier]:
    """Find rows of unit vectors that lie far from their nearest neighbours, farthest first.

    A row's distance is the mean cosine distance to its nearest neighbours (Angiulli & Pizzuti, "Fast outlier
    detection in high dimensional spaces", PKDD 2002) among the rows of its modality, since modalities lie
    apart. A row is an outlier when its distance is more than `threshold` deviations above the median of its
    modality, by the modified z-score (Iglewicz & Hoaglin, "How to Detect and Handle Outliers", 1993). That
    takes the median absolute deviation, or the mean one where more than half of the distances are equal. A
    modality of fewer than LEAST rows has no outliers.
    """
    found: list[Outlier] = []
    named = np.array(modalities)
    for modality in dict.fromkeys(modalities):
        rows = np.flatnonzero(named == modality)
        if len(rows) < LEAST:
            continue
        distances = mean_distances(vectors[rows], neighbours)
        scores = deviations(distances)
        found += [
            Outlier(int(rows[place]), float(distances[place]), float(scores[place]))
            for place in np.flatnonzero(scores > threshold)
        ]
    return sorted(found, key=lambda outlier: (-outlier.deviations, outlier.row))


def mean_distances(vectors: Vectors, neighbours: int = NEIGHBOURS) -> Numbers:
    """The mean cosine distance of each unit vector to its nearest other ones, `[n]`; 0 for a single one."""
    count = min(neighbours, len(vectors) - 1)
    distances = np.zeros(len(vectors))
    if count < 1:
        return distances
    step = max(1, BLOCK // len(vectors))
    for start in range(0, len(vectors), step):
        block = vectors[start : start + step] @ vectors.T  # [step, n]
        own = np.arange(len(block))
        block[own, start + own] = -np.inf  # a row is no neighbour of itself; its duplicate is
        nearest = highest(block, count)
        distances[start : start + step] = 1 - nearest.mean(axis=1, dtype=np.float64)
    return np.maximum(distances, 0)


def deviations(values: Numbers) -> Numbers:
    """The number of robust standard deviations by which each value exceeds the median, `[n]`."""
    above = values - np.median(values)
    sizes = np.abs(above)
    spreads = [spread for spread in (_MEDIAN * np.median(sizes), _MEAN * sizes.mean()) if spread > _NOISE]
    return np.asarray(above / spreads[0] if spreads else np.zeros(len(values)), np.float64)
