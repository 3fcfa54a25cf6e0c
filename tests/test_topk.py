"""The best rows are the same ones in the same order, whatever else is asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmencode.embeddings import topk
from mmencode.embeddings.embeddings import Embeddings
from mmencode.embeddings.search import search, similarity
from mmencode.embeddings.topk import Nearest, best_columns, cosines
from mmencode.embeddings.unit import require_unit


def unit(rows, dim, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def repeated(rows, dim, kinds, seed=0):
    """Rows of a few kinds, so that most scores are equal to others."""
    return unit(kinds, dim, seed)[np.random.default_rng(seed).integers(0, kinds, rows)]


def embeddings(vectors):
    return Embeddings(vectors, space="a@1", modality="text")


def by_sorting(queries, rows, k):
    """In float64, as nobody would do it for many."""
    scores = np.array(
        [[np.float32(np.multiply(q, r, dtype=np.float64).sum()) for r in rows] for q in queries]
    )
    return np.argsort(-scores.clip(-1, 1), axis=1, kind="stable")[:, :k]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5), st.integers(1, 90), st.integers(1, 12), st.integers(1, 100), st.integers(0, 99))
def test_the_best_are_those_of_a_stable_sort_of_exact_scores(queries, rows, kinds, k, seed):
    asked, corpus = unit(queries, 19, seed), repeated(rows, 19, kinds, seed + 1)
    nearest = Nearest(asked, k)
    nearest.add(corpus)
    np.testing.assert_array_equal(nearest.places, by_sorting(asked, corpus, k))


@settings(deadline=None, max_examples=80)
@given(
    st.integers(1, 10),
    st.lists(st.integers(0, 3000), min_size=1, max_size=4),
    st.integers(1, 30),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_blocks_that_come_together_are_ranked_as_if_they_came_one_after_the_other(
    queries, sizes, k, share, seed
):
    asked, corpus = unit(queries, 16, seed), repeated(sum(sizes), 16, 700, seed)
    places = np.random.default_rng(seed).permutation(len(corpus))
    marked = np.random.default_rng(seed).random(len(corpus)) < share
    blocks, start = [], 0
    for number, size in enumerate(sizes):
        part = slice(start, start + size)
        order = np.argsort(places[part])
        lying = np.ascontiguousarray(corpus[part][order].T).T  # number by number, as an index has them
        blocks.append((lying, places[part][order], marked[part][order] if number % 2 else None))
        start += size
    together, singly = Nearest(asked, k), Nearest(asked, k)
    together.add_all(blocks)
    for block in blocks:
        singly.add(*block)
    np.testing.assert_array_equal(together.places, singly.places)
    np.testing.assert_array_equal(together.scores, singly.scores)


def test_blocks_with_vectors_that_are_no_unit_vectors_are_refused():
    rows = unit(5000, 8)
    rows[4321] *= 3
    with pytest.raises(ValueError, match="unit vectors have none above 1"):
        Nearest(rows[4321:4322] / 3, 3).add_all(
            [(rows[:2500], np.arange(2500), None), (rows[2500:], np.arange(2500, 5000), None)]
        )


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(1, 30), st.integers(0, 99))
def test_rows_that_come_in_blocks_are_ranked_as_if_they_came_at_once(sizes, k, seed):
    asked, corpus = unit(4, 16, seed), repeated(sum(sizes), 16, 9, seed)
    whole_corpus, pieces = Nearest(asked, k), Nearest(asked, k)
    whole_corpus.add(corpus)
    start = 0
    for size in sizes:
        pieces.add(corpus[start : start + size])
        start += size
    np.testing.assert_array_equal(pieces.places, whole_corpus.places)
    np.testing.assert_array_equal(pieces.scores, whole_corpus.scores)


@settings(deadline=None, max_examples=60)
@given(
    queries=st.integers(1, 6),
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=3),
    kinds=st.integers(1, 40),
    k=st.integers(1, 12),
    share=st.sampled_from([0, 0.05, 0.3, 0.9]),
    seed=st.integers(0, 99),
)
def test_rows_that_lie_number_by_number_and_are_left_out_in_part_are_ranked_alike(
    queries, sizes, kinds, k, share, seed
):
    asked, corpus = unit(queries, 19, seed), repeated(sum(sizes), 19, kinds, seed + 1)
    among = np.random.default_rng(seed).random(len(corpus)) < share
    expected = Nearest(asked, k)
    expected.add(corpus[among], np.flatnonzero(among))
    found, start = Nearest(asked, k), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topk, "_TILES", 8)  # so that a few hundred rows make several tiles
        for size in sizes:
            part = slice(start, start + size)
            found.add(np.asfortranarray(corpus[part]), np.arange(start, start + size), among[part])
            start += size
    np.testing.assert_array_equal(found.places, expected.places)
    np.testing.assert_array_equal(found.scores, expected.scores)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.integers(600, 3000), st.integers(1, 60), st.integers(1, 12), st.integers(0, 99))
def test_the_best_of_many_rows_are_those_of_a_stable_sort(queries, rows, kinds, k, seed):
    asked, corpus = unit(queries, 5, seed), repeated(rows, 5, kinds, seed + 1)
    nearest = Nearest(asked, k)
    nearest.add(corpus)
    expected = np.argsort(-cosines(asked, corpus), axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(nearest.places, expected)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(0, 99))
def test_places_of_ones_own_decide_among_equal_scores_in_whatever_order_rows_come(k, seed):
    asked, corpus = unit(3, 8, seed), repeated(60, 8, 4, seed)
    places = np.random.default_rng(seed).permutation(60)
    mixed, ordered = Nearest(asked, k), Nearest(asked, k)
    for start in range(0, 60, 25):
        mixed.add(corpus[start : start + 25], places[start : start + 25])
    ordered.add(corpus[np.argsort(places)])
    np.testing.assert_array_equal(mixed.places, ordered.places)


@pytest.mark.parametrize("dim", [3, 384, 512])
@pytest.mark.parametrize("rows", [37, 1001])
def test_equal_rows_keep_their_order_and_the_first_of_many_are_those_of_few(dim, rows):
    corpus = embeddings(np.repeat(unit(1, dim), rows, axis=0))
    queries = embeddings(unit(40, dim, 1))
    for k in (1, 5, 15, rows):
        found = search(queries, corpus, k)
        assert (found.rows == np.arange(k)).all()
        assert (found.scores == found.scores[:, :1]).all()


@pytest.mark.parametrize("rows", [37, 1001])
def test_a_query_finds_alone_what_it_finds_among_others_to_the_last_bit(rows):
    corpus, queries = embeddings(repeated(rows, 384, rows // 3)), embeddings(unit(70, 384, 1))
    together = search(queries, corpus, 15)
    for place in (0, 1, 33, 69):
        alone = search(queries[place], corpus, 15)
        few = search(queries[: place + 1], corpus, 5)
        np.testing.assert_array_equal(alone.rows[0], together.rows[place])
        np.testing.assert_array_equal(alone.scores[0], together.scores[place])
        np.testing.assert_array_equal(few.rows[place], together.rows[place, :5])


def test_similarity_is_the_same_alone_and_among_others_and_what_search_gives():
    corpus, queries = embeddings(repeated(101, 384, 30)), embeddings(unit(70, 384, 1))
    together, found = similarity(queries, corpus), search(queries, corpus, 101)
    for place in (0, 69):
        np.testing.assert_array_equal(similarity(queries[place], corpus)[0], together[place])
    np.testing.assert_array_equal(np.take_along_axis(together, found.rows, axis=1), found.scores)


def test_no_score_is_over_one_and_a_vector_has_one_with_itself():
    vectors = embeddings(unit(200, 97))
    assert similarity(vectors, vectors).max() <= 1
    found = search(vectors, vectors, 3)
    assert found.scores.max() <= 1
    np.testing.assert_allclose(found.scores[:, 0], 1, atol=1e-6)
    np.testing.assert_array_equal(found.rows[:, 0], np.arange(200))


def test_rows_a_little_longer_than_others_are_not_preferred_beyond_one():
    rows = np.repeat(unit(1, 64), 50, axis=0)
    rows[30:] *= np.float32(1.0004)
    found = search(embeddings(rows[:1]), embeddings(rows), 5)
    assert found.rows.tolist() == search(embeddings(rows[:1]), embeddings(rows), 50).rows[:, :5].tolist()


BAD = {
    "NaN": lambda row: row * np.float32("nan"),
    "infinite": lambda row: row * np.float32("inf"),
    "zeros": lambda row: row * 0,
    "twice as long": lambda row: row * 2,
    "half as long": lambda row: row / 2,
}


@pytest.mark.parametrize("use", [search, similarity])
@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("count", [1, 40])
def test_vectors_that_are_no_unit_vectors_are_refused_alone_and_among_others(use, kind, count):
    vectors, good = unit(count, 16), embeddings(unit(30, 16, 1))
    vectors[-1] = BAD[kind](vectors[-1])
    for first, second in ((embeddings(vectors), good), (good, embeddings(vectors))):
        wrong = "isn't finite" if kind in ("NaN", "infinite") else "has length .*"
        with pytest.raises(ValueError, match=rf"the vector of row {count - 1} {wrong} \(1 such rows of"):
            use(first, second)


@pytest.mark.parametrize("rows", [30, 3000])
@pytest.mark.parametrize("k", [3, 30])
def test_vectors_that_were_changed_after_they_were_checked_do_not_rank_silently(k, rows):
    corpus, queries = embeddings(unit(rows, 16)), embeddings(unit(2, 16, 1))
    search(queries, corpus, 3)
    corpus.torch()[7] = np.nan
    with pytest.raises(ValueError, match="a score is nan, and unit vectors have none"):
        search(queries, corpus, k)


@pytest.mark.parametrize("k", [np.int64(3), np.uint8(3), np.array(3)])
def test_integers_of_any_type_are_taken(k):
    corpus = embeddings(unit(9, 4))
    assert search(corpus, corpus, k).rows.shape == (9, 3)


@pytest.mark.parametrize("k", [2**32, 2**63, 10**30])
def test_more_than_there_are_gives_all(k):
    corpus = embeddings(unit(9, 4))
    assert search(corpus, corpus, k).rows.shape == (9, 9)


def test_widths_that_differ_under_one_id_are_refused_with_both():
    with pytest.raises(ValueError, match="vectors of 4 and of 5 numbers, under one space's id, a@1"):
        search(embeddings(unit(1, 4)), embeddings(unit(1, 5)))


def test_no_queries_and_no_rows_give_nothing():
    empty = Nearest(unit(0, 4), 3)
    empty.add(unit(5, 4))
    none = Nearest(unit(2, 4), 3)
    none.add(unit(0, 4))
    assert (empty.places.shape[0], none.places.shape) == (0, (2, 0))


def test_columns_of_equal_scores_keep_their_order_however_many_are_asked_for():
    scores = np.random.default_rng(0).integers(0, 3, (300, 40)).astype(np.float32)
    everything = best_columns(scores, 40)
    for k in (1, 5, 15, 16, 17, 39):
        np.testing.assert_array_equal(best_columns(scores, k), everything[:, :k])


def test_cosines_and_lengths_of_nothing_are_nothing():
    assert cosines(unit(0, 4), unit(3, 4)).shape == (0, 3)
    require_unit(np.empty((0, 4), np.float32))
