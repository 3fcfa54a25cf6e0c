from __future__ import annotations

import numpy as np
import pytest

from mmencode.embeddings.unit import scale_to_unit, unit_rows


@pytest.mark.parametrize("scale", [scale_to_unit, lambda rows: unit_rows(rows, "the numbers")])
def test_rows_of_any_length_come_to_length_one_in_their_own_direction(scale):
    rows = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32) * np.float32(7)
    found = scale(rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(found * np.linalg.norm(rows, axis=1, keepdims=True), rows, rtol=1e-5)


def test_rows_of_rounding_error_stay_short():
    found = scale_to_unit(np.array([[0, 0], [1e-9, 0], [0, 3]], np.float32))
    np.testing.assert_allclose(found, [[0, 0], [1e-3, 0], [0, 1]])


def test_a_row_of_zeros_has_no_unit_vector():
    with pytest.raises(ValueError, match="the numbers of row 1 are all zero"):
        unit_rows(np.array([[1, 0], [0, 0]], np.float32), "the numbers")
