from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmencode.pages.outliers import deviations, find_outliers, mean_distances


def test_row_far_from_all_others_is_the_first_outlier(blobs):
    found = find_outliers(blobs.vectors, ["image"] * len(blobs))
    assert found[0].row == 120
    assert found[0].deviations > 10
    assert len(found) < 6


def test_distances_are_those_of_scikit_learns_neighbours(blobs, monkeypatch):
    neighbours = pytest.importorskip("sklearn.neighbors")
    monkeypatch.setattr("mmencode.pages.outliers.BLOCK", 1000)  # several blocks
    reference = neighbours.NearestNeighbors(n_neighbors=10, metric="cosine").fit(blobs.vectors)
    expected = reference.kneighbors()[0].mean(axis=1)
    np.testing.assert_allclose(mean_distances(blobs.vectors), expected, atol=1e-6)


def test_modality_that_lies_apart_is_no_outlier_for_that(blobs):
    modalities = ["image"] * 80 + ["text"] * 41
    assert 85 not in [found.row for found in find_outliers(blobs.vectors, modalities)]
    few = ["text"] * 3 + ["image"] * 118
    assert not {0, 1, 2} & {found.row for found in find_outliers(blobs.vectors, few)}


def test_one_row_among_equal_ones_is_an_outlier_and_float_noise_is_none():
    vectors = np.tile(np.float32([0.6, 0.8]), (50, 1))
    assert find_outliers(vectors, ["image"] * 50) == []
    vectors[7] = [0.8, 0.6]
    assert [found.row for found in find_outliers(vectors, ["image"] * 50)] == [7]


def test_score_is_the_modified_z_score():
    values = np.array([1.0, 2.0, 3.0, 4.0, 10.0])
    np.testing.assert_allclose(deviations(values), 0.6745 * (values - 3) / 1.0, rtol=1e-4)


@settings(deadline=None)
@given(st.lists(st.floats(0, 2), min_size=1, max_size=30), st.floats(0.5, 4), st.floats(-1, 1))
def test_score_depends_on_neither_scale_nor_place(values, scale, shift):
    values = np.round(np.array(values), 3)
    found = deviations(values)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(deviations(values * scale + shift), found, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_rows_have_no_outliers(blobs, count):
    assert find_outliers(blobs.vectors[:count], ["image"] * count) == []
    assert len(mean_distances(blobs.vectors[:count])) == count
