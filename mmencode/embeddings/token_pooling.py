"""The vectors of one item are merged to fewer: alike ones become their mean.

The method is that of Clavié, Chaffin and Adams, "Reducing the Footprint of Multi-Vector Retrieval with
Minimal Performance Impact via Token Pooling" (2024), as PyLate and sentence-transformers compute it:
hierarchical clustering by Ward's method on the condensed matrix of cosine distances, cut to a number of
clusters. Merges are found by the nearest-neighbour chain (Murtagh, "A Survey of Recent Advances in
Hierarchical Clustering Algorithms", 1983).
"""

from __future__ import annotations

import re

import numpy as np

from .array_types import Numbers, Positions, Vectors
from .unit import SHORTEST

_POOLED = re.compile(r":pool[0-9]+(\+[0-9]+)?$")


def id_of_pooling(space: str, factor: int, protected: int) -> str:
    """The id of a space whose vectors were pooled; ValueError where they were before."""
    if _POOLED.search(space):
        raise ValueError(f"these vectors are pooled already, {space}: pool what encode_multi() gave")
    return f"{space}:pool{factor}{f'+{protected}' if protected else ''}"


def id_before_pooling(space: str) -> str:
    """The id of a space without the pooling of its vectors, which queries don't share."""
    return _POOLED.sub("", space)


def pool_tokens(rows: Vectors, factor: int, protected: int = 0) -> Vectors:
    """Merge unit vectors `[t, dim]` but the first `protected` to `(t - protected) // factor`, one at least.

    Clusters stand in the order of their first members. Equal distances may leave fewer of them. Vectors whose
    mean has no direction stay as they are.
    """
    kept, merged = rows[:protected], rows[protected:]
    wanted = max(1, len(merged) // factor)
    if wanted >= len(merged):
        return rows
    distances = np.clip(1 - merged.astype(np.float64) @ merged.T.astype(np.float64), 0, 2)
    labels = ward_labels(distances, wanted)
    sums = np.zeros((labels.max() + 1, rows.shape[1]))
    np.add.at(sums, labels, merged)
    sizes = np.bincount(labels)
    lengths = np.linalg.norm(sums, axis=1)
    sound = lengths > SHORTEST * sizes
    means = (sums / np.where(sound, lengths, 1)[:, None]).astype(np.float32)
    return np.concatenate([kept, means[sound], merged[~sound[labels]]])


def ward_labels(distances: Numbers, wanted: int) -> Positions:
    """The cluster of each of `n` points, at most `wanted` clusters, numbered by their first members.

    `distances` `[n, n]` is symmetric. Where merges at one height would leave too many clusters or too few, it
    is too few, as in scipy's `fcluster` with the criterion "maxclust".
    """
    merges, heights = _ward_merges(distances)
    count = len(distances)
    order = np.argsort(heights, kind="stable")
    needed = count - wanted  # merges that are made
    if needed > 0:
        bar = heights[order[needed - 1]]
        needed = int(np.searchsorted(heights[order], bar, side="right"))
    parents = np.arange(count)
    for place in order[:needed].tolist():
        one, other = sorted((_root(parents, merges[place][0]), _root(parents, merges[place][1])))
        parents[other] = one
    roots = np.array([_root(parents, place) for place in range(count)])
    labels: Positions = np.unique(roots, return_inverse=True)[1].reshape(-1)
    return labels


def _ward_merges(distances: Numbers) -> tuple[list[tuple[int, int]], Numbers]:
    """Make the merges of Ward's method, each of a member of either side, with their heights."""
    count = len(distances)
    squares = distances**2
    np.fill_diagonal(squares, np.inf)
    sizes = np.ones(count)
    merges: list[tuple[int, int]] = []
    heights: list[float] = []
    chain: list[int] = []
    alive = np.ones(count, bool)
    while len(merges) < count - 1:
        if not chain:
            chain.append(int(alive.argmax()))
        while True:
            tip = chain[-1]
            near = int(squares[tip].argmin())
            if len(chain) > 1 and squares[tip, chain[-2]] <= squares[tip, near]:
                near = chain[-2]
                break
            chain.append(near)
        chain = chain[:-2]
        height = squares[tip, near]
        merges.append((tip, near))
        heights.append(float(height))
        # Lance and Williams's update of Ward's squared distances; the merged cluster replaces `near`.
        total = sizes + sizes[tip] + sizes[near]
        with np.errstate(invalid="ignore"):
            updated = (
                (sizes + sizes[tip]) * squares[tip] + (sizes + sizes[near]) * squares[near] - sizes * height
            ) / total
        alive[tip] = False
        updated[~alive] = np.inf
        updated[near] = np.inf
        squares[near], squares[:, near] = updated, updated
        squares[tip], squares[:, tip] = np.inf, np.inf
        sizes[near] += sizes[tip]
    return merges, np.array(heights)


def _root(parents: Positions, place: int) -> int:
    while parents[place] != place:
        parents[place] = parents[parents[place]]
        place = int(parents[place])
    return place
