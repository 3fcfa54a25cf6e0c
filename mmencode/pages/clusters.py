"""Clusters of similar vectors."""

from __future__ import annotations

import numpy as np

from ..arguments.counts import require_positive
from ..embeddings.array_types import Positions, Vectors
from ..plugins.packages import import_package
from .layout import INSTALL

MOST = 10  # clusters at most, where their number isn't given
SAMPLE = 2000  # rows on which numbers of clusters are compared


def cluster(vectors: Vectors, count: int | None = None, *, seed: int = 0) -> Positions:
    """Assign each vector to a cluster, `[n]`, numbered from 0 for the largest; a seed gives one result.

    Clusters are found by k-means (Lloyd, "Least squares quantization in PCM", 1982) from scikit-learn; the
    squared distance of unit vectors is 2 - 2 cos. Without a count, the one from 2 to MOST is taken
    that has the largest mean silhouette (Rousseeuw, "Silhouettes: a graphical aid to the interpretation and
    validation of cluster analysis", 1987) on at most SAMPLE rows. There are never more clusters than distinct
    vectors.

    ValueError for a count that isn't 1 to n; MissingPackageError without scikit-learn.
    """
    if count is not None:
        count = require_positive(count, "clusters", len(vectors))
    else:
        count = _best_count(vectors[np.random.default_rng(seed).permutation(len(vectors))[:SAMPLE]], seed)
    return _number_by_size(_run_k_means(vectors, count, seed))


def _best_count(vectors: Vectors, seed: int) -> int:
    """Find the number of clusters with the largest silhouette; 1 where all vectors are nearly equal."""
    counts = range(2, min(MOST, _distinct(vectors) - 1) + 1)
    scores = {count: _silhouette(vectors, _run_k_means(vectors, count, seed)) for count in counts}
    return max(scores, key=scores.__getitem__, default=1)


def _distinct(vectors: Vectors) -> int:
    return len(np.unique(vectors, axis=0))


def _silhouette(vectors: Vectors, members: Positions) -> float:
    """The mean silhouette of the clusters, -1 to 1."""
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(vectors, members))


def _run_k_means(vectors: Vectors, count: int, seed: int) -> Positions:
    cluster = import_package("sklearn.cluster", "clusters need scikit-learn", INSTALL)
    found = cluster.KMeans(min(count, _distinct(vectors)), n_init=4, random_state=seed).fit_predict(vectors)
    return np.asarray(found, np.int64)


def _number_by_size(members: Positions) -> Positions:
    """Number clusters from the largest on; those of equal size by their first row."""
    names, first, sizes = np.unique(members, return_index=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    numbers = np.empty(len(names), np.int64)
    numbers[order] = np.arange(len(names))
    renamed: Positions = numbers[np.searchsorted(names, members)]
    return renamed
