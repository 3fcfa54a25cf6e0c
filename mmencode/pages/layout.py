"""Projections of vectors onto a plane, by PCA or UMAP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..embeddings.array_types import Numbers, Vectors
from ..plugins.packages import import_package

LayoutMethod = Literal["pca", "umap"]
INSTALL = "pip install 'mmencode[map]'"
NEIGHBOURS = 15


@dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """Points `[n, 2]` of a plane, and for PCA the `shares` of the variance that its two axes show."""

    method: LayoutMethod
    points: Numbers
    shares: tuple[float, float] | None = None

    def describe(self) -> str:
        """Explain in a sentence how the points were computed, and what they can't show."""
        if self.shares is None:
            return "UMAP: neighbours stay neighbours; distances between far groups mean little."
        first, second = self.shares
        return (
            f"PCA: the two axes show {first + second:.0%} of the variance ({first:.0%} and {second:.0%}); "
            "points that lie together may differ in the rest."
        )


def lay_out(vectors: Vectors, method: LayoutMethod = "pca", *, seed: int = 0) -> Layout:
    """Lay vectors `[n, dim]` out on a plane; a seed gives one result.

    "pca" rotates them so that the plane shows the most of their variance (Pearson, "On lines and planes of
    closest fit to systems of points in space", 1901). "umap" keeps neighbours together (McInnes, Healy &
    Melville, "UMAP: Uniform Manifold Approximation and Projection for Dimension Reduction", 2018), by the
    cosine, starting from PCA; MissingPackageError without umap-learn. ValueError for another method.
    """
    if method not in ("pca", "umap"):
        raise ValueError(f"method is {method!r}: make it 'pca' or 'umap'")
    layout = _pca(vectors)
    if method == "pca" or len(vectors) <= 2:
        return layout
    return Layout("umap", _umap(vectors, layout.points, seed))


def centre_modalities(vectors: Vectors, modalities: Sequence[str]) -> Vectors:
    """Subtract from each vector the mean of its modality, which removes the gap between modalities.

    The towers of one space put their vectors into different regions (Liang et al., "Mind the Gap:
    Understanding the Modality Gap in Multi-modal Contrastive Representation Learning", NeurIPS 2022). The
    results don't have length 1.
    """
    moved = np.array(vectors, np.float32)
    for modality in set(modalities):
        rows = np.flatnonzero(np.array(modalities) == modality)
        moved[rows] -= moved[rows].mean(axis=0)
    return moved


def _pca(vectors: Vectors) -> Layout:
    moved = np.asarray(vectors, np.float64)
    moved = moved - moved.mean(axis=0) if len(moved) else moved
    sizes, axes = np.linalg.eigh(moved.T @ moved)  # of [dim, dim], for any number of rows; ascending
    best = _orient(axes[:, ::-1][:, :2])
    points = np.zeros((len(moved), 2))
    points[:, : best.shape[1]] = moved @ best
    variance = np.maximum(sizes[::-1], 0)
    shares = variance / variance.sum() if variance.sum() else variance
    first, second = [*shares[:2].tolist(), 0.0][:2]
    return Layout("pca", points, (first, second))


def _orient(axes: Numbers) -> Numbers:
    """Flip axes `[dim, 2]` so that the largest number of each is positive; PCA leaves signs arbitrary."""
    largest = np.abs(axes).argmax(axis=0)
    oriented: Numbers = axes * np.where(axes[largest, np.arange(axes.shape[1])] < 0, -1, 1)
    return oriented


def _umap(vectors: Vectors, start: Numbers, seed: int) -> Numbers:
    umap = import_package("umap", "a map by UMAP needs umap-learn", INSTALL)
    spread = np.abs(start).max() or 1.0
    drawn = umap.UMAP(
        n_neighbors=min(NEIGHBOURS, len(vectors) - 1),
        metric="cosine",
        init=(10 * start / spread).astype(np.float32),
        random_state=seed,
        n_jobs=1,  # with several threads a seed doesn't give the same points twice
    ).fit_transform(vectors)
    return np.asarray(drawn, np.float64)
