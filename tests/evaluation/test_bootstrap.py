"""Samples and intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmencode.evaluation import Sampling


def mean(rows):
    return rows.mean(axis=0)


def covered(draw, statistic, truth, runs=300):
    """The share of intervals, each of a data set that was drawn anew, that hold the truth."""
    random = np.random.default_rng(0)
    inside = 0
    for run in range(runs):
        ((low, high),) = Sampling(seed=run, resamples=300).intervals(draw(random), statistic)
        inside += low <= truth <= high
    return inside / runs


def test_interval_of_a_share_covers_it_about_95_times_of_100():
    share = covered(lambda random: (random.random((200, 1)) < 0.7).astype(float), mean, 0.7)
    assert 0.91 <= share <= 0.98


def test_interval_of_a_mean_rank_covers_it_about_95_times_of_100():
    share = covered(lambda random: random.geometric(0.2, (200, 1)).astype(float), mean, 5)
    assert 0.90 <= share <= 0.98


def test_same_seed_gives_the_same_interval_and_another_one_another():
    values = np.random.default_rng(0).random((50, 2))
    one, again, other = (Sampling(seed=seed).intervals(values, mean) for seed in (1, 1, 2))
    assert one == again != other


@given(st.integers(0, 2**32))
def test_order_of_the_rows_changes_no_interval(seed):
    random = np.random.default_rng(seed)
    values = random.integers(0, 2, (20, 3)).astype(float)
    sampling = Sampling(resamples=100)
    assert sampling.intervals(values, mean) == sampling.intervals(random.permutation(values), mean)


keys = st.lists(st.text(max_size=5), unique=True, min_size=1, max_size=30)


@given(keys, st.integers(1, 40), st.integers(0, 99), st.randoms())
def test_sample_has_its_size_and_is_the_same_in_any_order(names, size, seed, random):
    sampling = Sampling(size, seed)
    chosen = sampling.draw(names)
    assert len(chosen) == min(size, len(names))
    assert chosen == sorted(set(chosen))
    shuffled = random.sample(names, len(names))
    assert {names[place] for place in chosen} == {shuffled[place] for place in sampling.draw(shuffled)}


def test_another_seed_draws_another_sample():
    names = [str(number) for number in range(100)]
    assert Sampling(50, 0).draw(names) != Sampling(50, 1).draw(names)


def test_without_a_size_all_are_taken():
    assert Sampling().draw(["a", "b"]) == [0, 1]


@pytest.mark.parametrize("wrong", [{"sample": 0}, {"sample": -1}, {"resamples": 99}])
def test_sizes_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="make it"):
        Sampling(**wrong)
