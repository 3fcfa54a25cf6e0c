"""Recall against a slow reference, and against chance."""

from __future__ import annotations

import json
from math import comb, isfinite, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmencode.spaces import recall as retrieval
from mmencode.spaces.recall import DEPTHS, Recall, recall


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def random_rows(random, count, dim=16):
    return unit(random.normal(size=(count, dim)))


def drawn(candidates, same, draws):
    """The probability that so many draws without putting back give one that is the same."""
    draws = max(0, min(draws, candidates))
    return 1 - comb(candidates - same, draws) / comb(candidates, draws)


def reference(groups, truth):
    """Recall and chance at each depth, query by query, in exact shares."""
    hits, chance, count = dict.fromkeys(DEPTHS, 0.0), dict.fromkeys(DEPTHS, 0.0), 0
    for queries, partners in groups:
        for row, query in enumerate(queries.astype(np.float64)):
            side = (queries if truth == "queries" else partners).astype(np.float64)
            right = [j == row or float(side[row] @ other) > 1 - 1e-6 for j, other in enumerate(side)]
            scores = [float(query @ other) for other in partners]
            best = max(score for score, yes in zip(scores, right, strict=True) if yes)
            others = [score for score, yes in zip(scores, right, strict=True) if not yes]
            same = sum(yes and score >= best - 1e-6 for score, yes in zip(scores, right, strict=True))
            tied = sum(abs(score - best) <= 1e-6 for score in others)
            before = sum(score > best + 1e-6 for score in others)
            count += 1
            for k in DEPTHS:
                hits[k] += drawn(tied + same, same, k - before)
                chance[k] += drawn(len(partners), sum(right), k)
    return [{k: total / count for k, total in totals.items()} for totals in (hits, chance)]


# Of few directions, so that equal rows and equal scores are common.
directions = st.tuples(*[st.integers(-1, 1)] * 3).filter(any)
pairs = st.lists(st.tuples(directions, directions), min_size=1, max_size=25)
groups = st.lists(pairs, min_size=1, max_size=3).map(
    lambda lists: [tuple(unit(side) for side in zip(*pairs, strict=True)) for pairs in lists]
)


@settings(deadline=None)
@given(groups, st.sampled_from(["partners", "queries"]))
def test_recall_is_that_of_a_slow_reference(groups, truth):
    found = recall(groups, truth=truth)
    at, chance = reference(groups, truth)
    assert found.count == sum(len(queries) for queries, _ in groups)
    assert found.at == pytest.approx(at, abs=1e-9)
    assert found.chance == pytest.approx(chance, abs=1e-9)


@settings(deadline=None, max_examples=30)
@given(groups, st.integers(1, 40), st.sampled_from(["partners", "queries"]))
def test_size_of_a_block_changes_nothing(groups, block, truth):
    expected = recall(groups, truth=truth)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "BLOCK", block)
        assert recall(groups, truth=truth) == expected


@settings(deadline=None)
@given(groups)
def test_figures_are_always_numbers(groups):
    found = recall(groups)
    low, high = found.interval
    assert isfinite(found.sigmas)
    assert 0 <= low <= found.at[1] <= high <= 1
    assert found.at[1] <= found.at[5] <= found.at[10] <= 1


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.integers(12, 40))
def test_partners_that_are_the_queries_are_all_found(seed, count):
    rows = random_rows(np.random.default_rng(seed), count)
    found = recall([(rows, rows)])
    assert found.at == {1: 1.0, 5: 1.0, 10: 1.0}
    assert found.sigmas == pytest.approx(0.5 * sqrt(12 * count / (1 + 2 / (count - 1))))
    assert found.above_chance


def test_no_pairs_say_nothing():
    nothing = Recall(0, dict.fromkeys(DEPTHS, 0.0), dict.fromkeys(DEPTHS, 0.0), (0.0, 1.0), 0.0)
    assert recall([]) == recall([(np.empty((0, 4), np.float32),) * 2]) == nothing
    assert not nothing.above_chance


def test_pair_alone_is_found_and_says_nothing():
    row = unit([[1, 2]])
    found = recall([(row, row)])
    assert (found.at[1], found.chance[1], found.sigmas) == (1.0, 1.0, 0.0)


def test_items_with_one_caption_find_it_both():
    queries = unit([[1, 0.1], [1, -0.1], [0, 1]])
    captions = unit([[1, 0], [1, 0], [0, 1]])
    found = recall([(queries, captions)])
    assert found.at[1] == 1.0
    assert found.chance[1] == pytest.approx((2 / 3 + 2 / 3 + 1 / 3) / 3)


def test_caption_of_two_items_finds_either():
    captions = unit([[1, 0], [1, 0], [0, 1]])
    items = unit([[1, 0.1], [-1, 0.2], [0, 1]])
    found = recall([(captions, items)], truth="queries")
    assert found.at[1] == 1.0
    assert found.chance[1] == pytest.approx((2 / 3 + 2 / 3 + 1 / 3) / 3)
    assert recall([(captions, items)]).at[1] == pytest.approx(2 / 3)


def test_projection_that_makes_all_items_one_finds_nothing():
    captions = random_rows(np.random.default_rng(0), 30)
    items = np.tile(captions[:1], (30, 1))
    for found in (recall([(items, captions)]), recall([(captions, items)], truth="queries")):
        assert found.at == pytest.approx(found.chance)
        assert found.chance[1] == pytest.approx(1 / 30)


def test_partner_among_others_with_its_score_counts_as_drawn():
    queries = np.tile(unit([[0, 0, 1]]), (4, 1))
    partners = unit([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
    assert recall([(queries, partners)]).at == {1: 0.25, 5: 1.0, 10: 1.0}


def test_vectors_that_are_all_one_are_no_finding():
    rows = np.tile(unit([[1, 2, 3]]), (20, 1))
    found = recall([(rows, rows)])
    assert found.chance[1] == 1.0
    assert not found.above_chance


def test_rows_of_zeros_are_at_chance():
    rows = np.zeros((20, 3), np.float32)
    found = recall([(rows, rows)])
    assert found.at == pytest.approx({1: 0.05, 5: 0.25, 10: 0.5})
    assert found.at == pytest.approx(found.chance)


def test_queries_that_are_all_one_are_at_chance():
    queries = np.tile(unit([[1, 2, 3]]), (30, 1))
    found = recall([(queries, random_rows(np.random.default_rng(0), 30, 3))])
    assert found.at[1] == pytest.approx(found.chance[1])
    assert found.sigmas == pytest.approx(0, abs=1e-6)


def test_group_is_searched_by_itself():
    one = unit([[1, 0], [0, 1]])
    assert recall([(one, one), (one, one)]).at[1] == 1.0
    both = np.concatenate([one, unit([[1, 0.01], [0.01, 1]])])
    mixed = np.concatenate([unit([[1, 0.1], [0.1, 1]]), one])
    assert recall([(mixed[:2], both[:2]), (mixed[2:], both[2:])]).at[1] == 1.0
    assert recall([(mixed, both)]).at[1] < 1.0


def labelled(random, count):
    """Partners of which some are the same, like captions that are labels: 1, 2 ... times."""
    labels = random_rows(random, 12)
    return labels[random.choice(12, size=count, p=np.arange(1, 13) / 78)]


def test_random_vectors_have_the_recall_of_chance():
    random = np.random.default_rng(0)
    found = recall([(random_rows(random, 40), random_rows(random, 40)) for _ in range(400)])
    for k in DEPTHS:
        assert found.at[k] == pytest.approx(found.chance[k], abs=0.01)


def test_chance_is_what_candidates_in_any_order_give():
    random = np.random.default_rng(4)
    partners = labelled(random, 40)
    labels = np.unique(partners, axis=0, return_inverse=True)[1].ravel()
    found = recall([(random_rows(random, 40), partners)])
    orders = [labels[random.permutation(40)] for _ in range(3000)]
    for k in DEPTHS:
        hits = [np.isin(labels, order[:k]).mean() for order in orders]
        assert found.chance[k] == pytest.approx(np.mean(hits), abs=0.01)


@pytest.mark.parametrize("partners", [random_rows, labelled], ids=["all different", "labels"])
def test_sigmas_of_random_vectors_are_standard_normal(partners):
    random = np.random.default_rng(1)
    sigmas = [recall([(random_rows(random, 40), partners(random, 40))]).sigmas for _ in range(1500)]
    assert np.mean(sigmas) == pytest.approx(0, abs=0.1)
    assert np.std(sigmas) == pytest.approx(1, abs=0.06)


def test_sigmas_of_random_vectors_are_standard_normal_for_labels_that_search():
    random = np.random.default_rng(1)
    sigmas = [
        recall([(labelled(random, 40), random_rows(random, 40))], truth="queries").sigmas for _ in range(1500)
    ]
    assert np.mean(sigmas) == pytest.approx(0, abs=0.1)
    assert np.std(sigmas) == pytest.approx(1, abs=0.06)


def test_ten_of_a_hundred_have_wilson_s_interval():
    random = np.random.default_rng(2)
    partners = random_rows(random, 100, 64)
    queries = np.where(np.arange(100)[:, None] < 10, partners, -partners)
    found = recall([(queries, partners)])
    assert found.at[1] == pytest.approx(0.1)
    assert found.interval == pytest.approx((0.0552, 0.1744), abs=5e-5)


def test_all_of_a_hundred_leave_room_below():
    rows = random_rows(np.random.default_rng(3), 100, 64)
    assert recall([(rows, rows)]).interval == pytest.approx((0.963, 1.0), abs=5e-4)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rows_that_are_no_vectors_are_refused(side, value):
    sides = [unit([[1, 2], [3, 4]]), unit([[1, 2], [3, 4]])]
    sides[side][1, 0] = value
    with pytest.raises(ValueError, match="aren't finite"):
        recall([tuple(sides)])


@pytest.mark.parametrize("shape", [(3,), (2, 4), (4, 5), (3, 4, 1)])
def test_rows_that_are_no_pairs_are_refused(shape):
    with pytest.raises(ValueError, match=r"make both \[n, dim\]"):
        recall([(np.ones((3, 4), np.float32), np.ones(shape, np.float32))])


def test_recall_is_said_in_words():
    rows = unit(np.eye(20))
    said = str(recall([(rows, rows)]))
    assert said.startswith("recall@1 100.0 % (chance 5.0 %), recall@5 100.0 % (chance 25.0 %), recall@10")
    assert said.endswith("@1 with 95 % between 83.9 and 100.0 %")


def test_plain_values_come_back_from_json_as_they_are():
    rows = unit(np.eye(20))
    found = recall([(rows, rows)])
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
    assert found.to_dict()["chance"]["5"] == pytest.approx(0.25)
