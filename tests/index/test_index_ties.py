"""Equal scores are ranked by key, whatever k is, however many queries there are, however one searches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmencode import Embeddings, Index, Runtime, Space
from mmencode.index import ann, searching, store
from mmencode.testing import fake_specs


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def embeddings(space, rows, keys=None, modality="image"):
    return Embeddings(unit(rows), space=space.id, modality=modality, keys=keys)


@pytest.fixture
def alike(index, space):
    """Forty rows of three different vectors, added in an order that isn't that of the keys."""
    rng = np.random.default_rng(0)
    keys = [f"k{number:02}" for number in rng.permutation(40)]
    kinds = np.eye(8)[[0, 1, 2]]
    rows = kinds[[int(key[1:]) % 3 for key in keys]]
    for start in range(0, 40, 7):
        index.add_embeddings(embeddings(space, rows[start : start + 7], keys[start : start + 7]))
    return index


def keys_of(hits):
    return [hit.key for hit in hits]


@pytest.mark.parametrize("count", [1, 3, 9])
@pytest.mark.parametrize(
    "options", [{}, {"exact": True}, {"centred": True}, {"among": "image"}, {"where": "true"}]
)
def test_members_and_order_are_those_of_the_longest_list(alike, space, count, options):
    queries = embeddings(space, [[3, 2, 1, 0, 0, 0, 0, 0.5]] * count, modality="text")
    whole = keys_of(alike.search_embeddings(queries, 40, **options)[0])
    by_kind = [sorted(key for key in whole if int(key[1:]) % 3 == kind) for kind in range(3)]
    assert whole == [key for kind in by_kind for key in kind]
    for k in (1, 2, 5, 13, 14, 15, 27, 39, 41):
        for hits in alike.search_embeddings(queries, k, **options):
            assert keys_of(hits) == whole[:k]


@pytest.mark.parametrize("count", [1, 9])
def test_rows_that_are_all_alike_come_in_the_order_of_their_keys(index, space, count, monkeypatch):
    monkeypatch.setattr(searching, "_MOST", 64)  # then LanceDB is asked no further
    keys = [f"{number:04}" for number in np.random.default_rng(1).permutation(2000)]
    index.add_embeddings(embeddings(space, [[1] * 8] * 2000, keys))
    queries = embeddings(space, np.random.default_rng(2).normal(size=(count, 8)), modality="text")
    for hits in index.search_embeddings(queries, 5):
        assert keys_of(hits) == ["0000", "0001", "0002", "0003", "0004"]


@pytest.fixture(scope="module")
def reused(tmp_path_factory):
    """An index for many cases, each of which empties it."""
    space = Space("fake", fake_specs(), runtime=Runtime("cpu", batch_size=4, workers=1))
    with Index.create(tmp_path_factory.mktemp("ties") / "index", space) as index:
        yield index


SMALL = st.lists(st.integers(-2, 2), min_size=8, max_size=8).filter(any)


@settings(max_examples=12, deadline=None)
@given(
    rows=st.lists(SMALL, min_size=1, max_size=30),
    asked=st.lists(SMALL, min_size=6, max_size=6),
    k=st.integers(1, 12),
)
def test_a_query_gets_the_same_alone_and_among_others(reused, rows, asked, k):
    reused.delete("true")
    reused.add_embeddings(embeddings(reused.space, rows, [f"{n:02}" for n in range(len(rows))]))
    queries = embeddings(reused.space, asked, modality="text")
    together = reused.search_embeddings(queries, k)
    for place in range(6):
        assert reused.search_embeddings(queries[place], k)[0] == together[place]
        assert reused.search_embeddings(queries[place], k + 3)[0][:k] == together[place]


def test_an_approximate_search_gives_the_first_of_a_longer_one(index, space, monkeypatch):
    monkeypatch.setattr(ann, "FROM_ROWS", 1000)
    monkeypatch.setattr(store, "FROM_ROWS", 1000)
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(100, 8)).repeat(15, axis=0)  # each fifteen times
    keys = [f"{number:04}" for number in rng.permutation(1500)]
    index.add_embeddings(embeddings(space, rows, keys))
    assert index.state().method
    queries = embeddings(space, rng.normal(size=(3, 8)), modality="text")
    whole = index.search_embeddings(queries, 100)
    for k in (1, 5, 15, 16, 40):
        assert index.search_embeddings(queries, k) == [hits[:k] for hits in whole]


@pytest.mark.parametrize("count", [1, 9])
def test_scores_are_never_above_one(index, space, count):
    rows = np.random.default_rng(4).normal(size=(50, 8))
    index.add_embeddings(embeddings(space, rows, [str(number) for number in range(50)]))
    for hits in index.search_embeddings(embeddings(space, rows[:count], modality="text"), 50):
        assert all(-1 <= hit.score <= 1 for hit in hits)
        assert hits[0].score == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("k", [np.int64(3), np.uint8(3), 3])
@pytest.mark.parametrize("count", [1, 9])
def test_any_integer_is_a_number_of_rows(alike, space, count, k):
    queries = embeddings(space, np.eye(8)[[0] * count], modality="text")
    assert [len(hits) for hits in alike.search_embeddings(queries, k)] == [3] * count


@pytest.mark.parametrize("k", [2**31, 2**32, 2**63, 10**30])
@pytest.mark.parametrize("count", [1, 9])
def test_more_rows_than_there_are_give_all(alike, space, count, k):
    queries = embeddings(space, np.eye(8)[[0] * count], modality="text")
    assert [len(hits) for hits in alike.search_embeddings(queries, k)] == [40] * count


@pytest.mark.parametrize("k", [0, -1, True, 2.0, "3", None])
def test_what_is_no_positive_integer_is_refused(alike, space, k):
    with pytest.raises(ValueError, match="k is"):
        alike.search_embeddings(embeddings(space, np.eye(8)[:1], modality="text"), k)


@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, 2.0, 0.0])
@pytest.mark.parametrize("centred", [False, True])
def test_queries_that_are_not_of_length_one_are_refused_alone_and_among_others(
    alike, space, count, wrong, centred
):
    rows = np.eye(8, dtype=np.float32)[[0] * count]
    rows[-1] = rows[-1] * wrong if np.isfinite(wrong) else wrong
    queries = Embeddings(rows, space=space.id, modality="text")
    with pytest.raises(ValueError, match=f"the query of row {count - 1} "):
        alike.search_embeddings(queries, 3, centred=centred)


def test_queries_of_another_width_are_refused(alike, space):
    queries = Embeddings(np.eye(4, dtype=np.float32), space=space.id, modality="text")
    with pytest.raises(ValueError, match="4 numbers"):
        alike.search_embeddings(queries, 3)
