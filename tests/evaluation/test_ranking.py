"""Ranks and their figures against scikit-learn, CLIP_benchmark, and what blind guesses give."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, top_k_accuracy_score

from mmencode.evaluation import chance
from mmencode.evaluation.ranking import Ranking, rank_by_scores, rank_by_vectors
from mmencode.spaces import recall

DEPTHS = (1, 2, 5, 10)


def several(random, rows, columns, share=0.1):
    """Right answers as a mask `[rows, columns]`, at least one in each row."""
    right = random.random((rows, columns)) < share
    right[np.arange(rows), random.integers(0, columns, rows)] = True
    return right


def places(right):
    return [np.flatnonzero(row) for row in right]


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_one_right_answer_is_top_k_accuracy_of_scikit_learn(seed, kind):
    random = np.random.default_rng(seed)
    scores = random.normal(size=(60, 12)).astype(kind)
    labels = random.integers(0, 12, 60)
    found = rank_by_scores(scores, list(labels[:, None]))
    for k in DEPTHS:
        expected = top_k_accuracy_score(labels, scores, k=k, labels=np.arange(12))
        assert found.hits(k).mean() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_that_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    scores, right = random.normal(size=(40, 50)), several(random, 40, 50)
    expected = [average_precision_score(*row) for row in zip(right, scores, strict=True)]
    found = rank_by_scores(scores, places(right)).precision
    np.testing.assert_allclose(found, expected, atol=1e-9)


few = st.integers(1, 12).flatmap(
    lambda count: st.tuples(
        st.lists(st.integers(0, 3), min_size=count, max_size=count),
        st.lists(st.booleans(), min_size=count, max_size=count).filter(any),
    )
)


@given(few)
def test_average_precision_is_that_of_scikit_learn_among_equal_scores_too(row):
    scores, right = np.array([row[0]], np.float64), np.array([row[1]])
    found = rank_by_scores(scores, places(right)).precision
    np.testing.assert_allclose(found, average_precision_score(right[0], scores[0]), atol=1e-9)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=5), st.integers(1, 5))
def test_hits_and_ranks_are_the_mean_over_all_orders_of_equal_scores(row, k):
    scores, right = (np.array(column) for column in zip(*row, strict=True))
    right[0] = True
    orders = [
        list(order) for order in permutations(range(len(row))) if (np.diff(scores[list(order)]) <= 0).all()
    ]
    found = rank_by_scores(scores[None].astype(float), places(right[None]))
    assert found.hits(k)[0] == pytest.approx(np.mean([right[order[:k]].any() for order in orders]))
    assert found.first[0] == pytest.approx(np.mean([np.flatnonzero(right[order])[0] + 1 for order in orders]))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_is_that_of_clip_benchmark(seed, k):
    theirs = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval", reason="the reference")
    random = np.random.default_rng(seed)
    images, texts = unit(random.normal(size=(30, 8))), unit(random.normal(size=(90, 8)))
    right = np.zeros((90, 30), bool)  # [texts, images]
    right[np.arange(90), np.arange(90) // 3] = True
    scores = torch.from_numpy(texts @ images.T)
    ways = ((texts, images, scores, right), (images, texts, scores.T, right.T))
    for queries, candidates, matrix, mask in ways:
        shares = theirs.recall_at_k(matrix, torch.from_numpy(mask), k)
        found = rank_by_vectors(queries, candidates, places(mask)).hits(k)
        assert found.mean() == pytest.approx(float((shares > 0).float().mean()), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_that_of_clip_benchmark(seed):
    theirs = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification", reason="the reference")
    random = np.random.default_rng(seed)
    scores, right = random.normal(size=(15, 40)), several(random, 15, 40)
    expected = theirs.average_precision_per_class(torch.from_numpy(scores.T), torch.from_numpy(right.T))
    np.testing.assert_allclose(rank_by_scores(scores, places(right)).precision, expected, atol=1e-6)


vectors = st.tuples(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 20))


@settings(deadline=None)
@given(vectors, st.integers(1, 50))
def test_size_of_a_block_changes_nothing(drawn, block):
    random = np.random.default_rng(drawn[0])
    queries, candidates = (unit(random.normal(size=(count, 3))) for count in drawn[1:])
    right = places(several(random, *drawn[1:]))
    expected = rank_by_vectors(queries, candidates, right)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recall, "BLOCK", block)
        found = rank_by_vectors(queries, candidates, right)
    for name in Ranking.__slots__:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name))


@settings(deadline=None)
@given(vectors)
def test_all_candidates_hold_a_right_answer_and_more_never_find_less(drawn):
    random = np.random.default_rng(drawn[0])
    found = rank_by_scores(random.normal(size=drawn[1:]), places(several(random, *drawn[1:])))
    shares = [found.hits(k) for k in range(1, drawn[2] + 1)]
    np.testing.assert_allclose(shares[-1], 1)
    np.testing.assert_allclose(found.hits(drawn[2] + 5), 1)
    assert all((more >= less - 1e-12).all() for less, more in pairwise(shares))
    assert (found.precision > 0).all()
    assert (found.first >= 1).all()


@settings(deadline=None)
@given(vectors)
def test_order_of_the_candidates_changes_nothing(drawn):
    random = np.random.default_rng(drawn[0])
    scores = random.integers(0, 4, drawn[1:]).astype(np.float32)
    right, order = several(random, *drawn[1:]), random.permutation(drawn[2])
    one = rank_by_scores(scores, places(right))
    other = rank_by_scores(scores[:, order], places(right[:, order]))
    for name in Ranking.__slots__:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_scores_that_differ_by_rounding_are_equal():
    scores = np.array([[0.5, 0.5 + 5e-7, 0.1]], np.float32)
    found = rank_by_scores(scores, [np.array([0])])
    assert found.hits(1)[0] == 0.5
    assert found.first[0] == 1.5


def test_no_queries_have_no_ranks():
    nothing = rank_by_vectors(np.empty((0, 4), np.float32), np.ones((3, 4), np.float32), [])
    assert len(nothing) == 0
    assert len(rank_by_scores(np.empty((0, 3)), [])) == 0


def test_memory_stays_within_the_bound_however_many_there_are(monkeypatch):
    import tracemalloc

    monkeypatch.setattr(recall, "BLOCK", 2**16)
    random = np.random.default_rng(0)
    rows = unit(random.normal(size=(3000, 4)))
    right = [np.array([place]) for place in range(3000)]
    tracemalloc.start()
    rank_by_vectors(rows, rows, right)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000 * 3000 * 4 / 8  # bytes, of all scores at once


# 40 queries of which some have several right answers; the scores mean nothing.
def blind(random):
    return rank_by_scores(random.normal(size=(40, 25)), places(MASK))


MASK = several(np.random.default_rng(7), 40, 25)


def test_chance_is_what_scores_at_random_give():
    random = np.random.default_rng(1)
    found = [blind(random) for _ in range(800)]
    ranks = found[0]
    for k in DEPTHS:
        assert np.mean([one.hits(k).mean() for one in found]) == pytest.approx(
            chance.hit_rate(ranks, k), abs=0.01
        )
    means = np.mean([one.first.mean() for one in found])
    assert means == pytest.approx(chance.mean_rank(ranks), abs=0.1)
    precision = np.mean([one.precision.mean() for one in found])
    assert precision == pytest.approx(chance.average_precision(ranks), abs=0.005)
    median = np.median(np.concatenate([one.first for one in found]))
    assert median == pytest.approx(chance.median_rank(ranks), abs=1)


@pytest.mark.parametrize(("candidates", "median"), [(1, 1), (2, 1), (3, 2), (110, 55), (111, 56)])
def test_median_rank_of_one_right_answer_is_the_middle(candidates, median):
    ranks = rank_by_scores(np.ones((1, candidates)), [np.array([0])])
    assert chance.median_rank(ranks) == median
    assert chance.mean_rank(ranks) == (candidates + 1) / 2


def test_chance_is_certainty_where_all_candidates_are_right():
    ranks = rank_by_scores(np.ones((2, 3)), [np.arange(3)] * 2)
    assert chance.hit_rate(ranks, 1) == pytest.approx(1)
    assert chance.average_precision(ranks) == pytest.approx(1)
    assert chance.mean_rank(ranks) == chance.median_rank(ranks) == 1
