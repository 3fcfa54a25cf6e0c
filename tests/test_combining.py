from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmencode import Embeddings
from mmencode.embeddings.combining import combine


def embeddings(count, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embeddings(vectors, space="fake@1", modality="text")


@settings(deadline=None)
@given(st.lists(st.floats(0.1, 9), min_size=1, max_size=5), st.floats(0.01, 100), st.integers(0, 99))
def test_row_has_unit_length_and_only_the_ratio_of_weights_counts(weights, scale, seed):
    rows = embeddings(len(weights), seed)
    row = combine(rows, weights)
    assert np.linalg.norm(row.vectors) == pytest.approx(1, abs=1e-6)
    assert (row.space, row.modality, len(row)) == ("fake@1", "text", 1)
    scaled = combine(rows, [weight * scale for weight in weights])
    np.testing.assert_allclose(scaled.vectors, row.vectors, atol=1e-5)


def test_sum_is_weighted():
    rows = Embeddings(np.eye(3, dtype=np.float32), space="fake@1", modality="text")
    np.testing.assert_allclose(combine(rows, [3, -4, 0]).vectors, [[0.6, -0.8, 0]], rtol=1e-6)


def test_rows_that_cancel_out_are_refused():
    rows = embeddings(1)[[0, 0]]
    with pytest.raises(ValueError, match="cancel each other out"):
        combine(rows, [0.3, -0.3])
    with pytest.raises(ValueError, match="cancel each other out"):
        combine(rows, [0, 0])


@pytest.mark.parametrize("weights", [[1], [1, 2, 3], [1, float("nan")], [1, float("inf")]])
def test_weights_that_are_not_one_finite_number_for_each_row_are_refused(weights):
    with pytest.raises(ValueError, match="2 rows have the weights"):
        combine(embeddings(2), weights)
    with pytest.raises(ValueError, match="0 rows"):
        combine(embeddings(0), [])
