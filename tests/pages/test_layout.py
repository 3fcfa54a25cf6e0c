from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmencode.errors import MissingPackageError
from mmencode.pages.layout import centre_modalities, lay_out


def test_pca_is_that_of_scikit_learn(blobs):
    decomposition = pytest.importorskip("sklearn.decomposition")
    reference = decomposition.PCA(2, svd_solver="full")
    expected = reference.fit_transform(blobs.vectors.astype(np.float64))
    layout = lay_out(blobs.vectors)
    np.testing.assert_allclose(np.abs(layout.points), np.abs(expected), atol=1e-9)
    np.testing.assert_allclose(layout.shares, reference.explained_variance_ratio_, atol=1e-9)
    assert "of the variance" in layout.describe()


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 9))
def test_plane_shows_no_more_than_all_of_the_variance(count, dim, seed):
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    layout = lay_out(vectors)
    assert layout.points.shape == (count, 2)
    assert np.isfinite(layout.points).all()
    assert 0 <= sum(layout.shares) <= 1 + 1e-9


@pytest.mark.parametrize("method", ["pca", "umap"])
@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_rows_or_equal_ones_have_a_place(method, count):
    layout = lay_out(np.ones((count, 4), np.float32), method)
    np.testing.assert_allclose(layout.points, 0, atol=1e-6)


def test_turned_vectors_have_the_same_picture(blobs):
    turned = np.ascontiguousarray(blobs.vectors[:, ::-1])
    np.testing.assert_allclose(lay_out(turned).points, lay_out(blobs.vectors).points, atol=1e-6)


def test_method_that_is_none_is_refused(blobs):
    with pytest.raises(ValueError, match="'pca' or 'umap'"):
        lay_out(blobs.vectors, "tsne")


def test_umap_that_is_not_installed_names_the_extra(blobs, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'mmencode\[map\]'"):
        lay_out(blobs.vectors, "umap")


@pytest.mark.slow
def test_umap_keeps_groups_apart_and_gives_the_same_points_each_time(blobs):
    pytest.importorskip("umap")
    first, second = (lay_out(blobs.vectors, "umap") for _ in range(2))
    np.testing.assert_array_equal(first.points, second.points)
    assert first.shares is None
    assert "UMAP" in first.describe()
    groups = first.points[:120].reshape(3, 40, 2)
    middles = groups.mean(axis=1)
    inside = np.linalg.norm(groups - middles[:, None], axis=2).max()
    apart = min(np.linalg.norm(middles[a] - middles[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert inside < apart
    assert lay_out(blobs.vectors[:4], "umap").points.shape == (4, 2)


def test_centring_takes_the_mean_of_each_modality(blobs):
    modalities = ["image"] * 60 + ["text"] * 61
    moved = centre_modalities(blobs.vectors, modalities)
    np.testing.assert_allclose(moved[:60].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(moved[60:].mean(axis=0), 0, atol=1e-6)
    assert not np.shares_memory(moved, blobs.vectors)
