"""Counts of any integer type are taken, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from mmencode.arguments.counts import require_positive


@pytest.mark.parametrize("count", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_integers_of_any_type_are_taken(count):
    assert require_positive(count) == 3
    assert type(require_positive(count)) is int


@pytest.mark.parametrize(
    "count",
    [True, False, np.bool_(True), np.array(True), 0, -1, np.int64(-1), 1.0, "3", None, np.ones(2, int)],
)
def test_other_values_are_refused_with_the_name_of_the_argument(count):
    with pytest.raises(ValueError, match=r"k is .*: make it a positive int$"):
        require_positive(count)


def test_the_message_says_what_else_is_taken():
    with pytest.raises(ValueError, match='workers is 0: make it a positive int or "auto"'):
        require_positive(0, "workers", other='"auto"')


def test_a_count_above_the_most_is_refused():
    assert require_positive(4, "dim", 4) == 4
    with pytest.raises(ValueError, match="dim is 5: make it an int from 1 to 4"):
        require_positive(5, "dim", 4)
