"""What is found: exactly, approximately, centred."""

from __future__ import annotations

import numpy as np
import pytest

from mmencode import Embeddings, EncoderSpec, Runtime, Space, similarity
from mmencode.index import ann, store
from mmencode.testing.fakes import FakeText


def _keys(hits):
    return [[hit.key for hit in found] for found in hits]


class Wide(FakeText):
    """A fake whose vectors are long enough for codes."""

    width = 128

    def preprocess(self, item):
        return {"hidden": super().preprocess(item)["hidden"].repeat(1, 16)}


def _many(space, count, seed=0, modality="image"):
    rows = np.random.default_rng(seed).standard_normal((count, space.dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    keys = [f"{modality}{number:05}" for number in range(count)]
    return Embeddings(rows, space=space.id, modality=modality, keys=keys)


@pytest.mark.parametrize("count", [1, 4, 5, 30])
def test_search_finds_what_similarity_ranks_highest(index, space, count):
    rows, queries = _many(space, 300), _many(space, count, seed=1, modality="text")
    index.add_embeddings(rows)
    scores = similarity(queries, rows)
    expected = np.argsort(-scores, axis=1)[:, :7]
    hits = index.search_embeddings(queries, 7)
    assert _keys(hits) == [[rows.keys[place] for place in places] for places in expected]
    found = [[hit.score for hit in row] for row in hits]
    np.testing.assert_allclose(found, np.take_along_axis(scores, expected, 1), atol=1e-6)


@pytest.mark.parametrize("count", [1, 9])
def test_search_is_among_the_modalities_that_are_named(index, space, count):
    index.add_embeddings(_many(space, 20))
    index.add_embeddings(_many(space, 20, seed=1, modality="audio"))
    queries = _many(space, count, seed=2, modality="text")
    for among in ("audio", ["audio"]):
        found = index.search_embeddings(queries, 5, among=among)
        assert {hit.modality for row in found for hit in row} == {"audio"}
    every = index.search_embeddings(queries, 40, among=["audio", "image"], where="key <> 'audio00003'")
    assert {len(row) for row in every} == {39}


def test_fewer_rows_than_asked_for_are_all_found(index, space):
    index.add_embeddings(_many(space, 3))
    assert len(index.search_embeddings(_many(space, 1), 10)[0]) == 3


def test_k_must_be_positive(index, space):
    with pytest.raises(ValueError, match="k is 0"):
        index.search_embeddings(_many(space, 1), 0)


@pytest.mark.parametrize("count", [1, 9])
def test_centred_scores_are_the_cosines_between_what_differs_from_the_means(index, space, count):
    images, texts = _many(space, 50), _many(space, 40, seed=1, modality="text")
    index.add_embeddings(images)
    index.add_embeddings(texts)
    queries = _many(space, count, seed=2, modality="text")
    rows = images.vectors - images.vectors.mean(axis=0)
    asked = queries.vectors - texts.vectors.mean(axis=0)
    scores = asked @ rows.T / np.outer(np.linalg.norm(asked, axis=1), np.linalg.norm(rows, axis=1))
    hits = index.search_embeddings(queries, 5, among="image", centred=True)
    expected = np.argsort(-scores, axis=1)[:, :5]
    assert _keys(hits) == [[images.keys[place] for place in places] for places in expected]
    found = [[hit.score for hit in row] for row in hits]
    np.testing.assert_allclose(found, np.take_along_axis(scores, expected, 1), atol=1e-5)


def test_queries_of_a_modality_without_rows_are_not_centred(index, space):
    images = _many(space, 50)
    index.add_embeddings(images)
    query = _many(space, 1, seed=2, modality="text")
    rows = images.vectors - images.vectors.mean(axis=0)
    scores = query.vectors @ rows.T / np.linalg.norm(rows, axis=1)
    (hits,) = index.search_embeddings(query, 1, centred=True)
    assert hits[0].key == images.keys[int(scores.argmax())]


def test_the_only_row_of_a_modality_is_its_mean_and_similar_to_nothing(index, space):
    index.add_embeddings(_many(space, 1))
    (hits,) = index.search_embeddings(_many(space, 1, seed=1, modality="text"), centred=True)
    assert [hit.score for hit in hits] == [0.0]


@pytest.fixture(params=["IVF_RQ", "IVF_FLAT"])
def method(request):
    return request.param


@pytest.fixture
def space(request, space):
    """A space of long vectors for IVF_RQ, of short ones otherwise."""
    if "method" not in request.fixturenames or request.getfixturevalue("method") == "IVF_FLAT":
        yield space
        return
    spec = EncoderSpec(name="wide", modality="text", target=f"{__name__}:Wide", dim=128)
    with Space("wide", [spec], runtime=Runtime("cpu")) as wide:
        yield wide


@pytest.fixture
def large(method, index, space, monkeypatch):
    """An index that counts as large, with 2000 rows in it and 10 that came later."""
    monkeypatch.setattr(ann, "FROM_ROWS", 1000)
    monkeypatch.setattr(store, "FROM_ROWS", 1000)
    index.add_embeddings(_many(space, 2000), metadata=[{"n": number % 500} for number in range(2000)])
    index.add_embeddings(_many(space, 10, seed=5, modality="audio"))
    return index


def test_large_index_is_approximate_by_itself_and_says_so(large, method):
    state = large.state()
    assert (state.method, state.covered, sum(state.rows.values())) == (method, 2000, 2010)


def test_recall_of_a_large_index_is_measured_and_high(large, space):
    assert 0.9 <= large.recall(sample=50) <= 1
    assert large.recall(queries=_many(space, 20, seed=9, modality="text")) >= 0.9


def test_recall_of_a_small_index_is_one(index, space):
    index.add_embeddings(_many(space, 50))
    assert index.recall() == 1
    assert index.state().method == ""


@pytest.mark.parametrize("method", ["IVF_RQ"], indirect=True)
def test_recall_shows_what_the_approximation_loses(large, monkeypatch):
    monkeypatch.setattr(ann, "PARTITIONS", 1)
    monkeypatch.setattr(ann, "REFINED", 1)
    assert large.recall(sample=50) < 0.95


def test_exact_search_of_a_large_index_is_exact(large, space):
    rows, queries = _many(space, 2000), _many(space, 2, seed=3, modality="text")
    expected = np.argsort(-similarity(queries, rows), axis=1)[:, :10]
    hits = large.search_embeddings(queries, 10, exact=True, among="image")
    assert _keys(hits) == [[rows.keys[place] for place in places] for places in expected]


def test_approximate_scores_are_exact_cosines(large, space):
    rows, queries = _many(space, 2000), _many(space, 1, seed=3, modality="text")
    (hits,) = large.search_embeddings(queries, 10, among="image")
    places = [rows.keys.index(hit.key) for hit in hits]
    expected = similarity(queries, rows)[0, places]
    np.testing.assert_allclose([hit.score for hit in hits], expected, atol=1e-6)


def test_rows_that_came_after_the_approximate_index_are_found(large, space):
    later = _many(space, 10, seed=5, modality="audio")
    for place in range(10):
        assert large.search_embeddings(later[place], 1)[0][0].key == later.keys[place]
    large.compact()
    assert large.state().covered == 2010
    assert large.search_embeddings(later[3], 1)[0][0].key == later.keys[3]


def test_approximate_index_that_is_outgrown_is_made_anew(large, space):
    large.add_embeddings(_many(space, 7000, seed=6, modality="text"))
    large.compact()
    assert large.state().covered == 9010
    assert ann.find_trainings(large._store.rows) == [9010]
    assert large.recall(sample=50) > 0.7  # random vectors are the hardest


def test_rare_condition_on_a_large_index_finds_all_that_meet_it(large, space):
    (hits,) = large.search_embeddings(_many(space, 1, seed=3), 10, where="n = 77")
    assert len(hits) == 4


def test_centred_search_of_a_large_index_finds_what_the_exact_one_does(large, space):
    queries = _many(space, 10, seed=3, modality="text")
    found, exact = (
        large.search_embeddings(queries, 10, centred=True, exact=exact) for exact in (False, True)
    )
    common = [len(set(one) & set(other)) for one, other in zip(_keys(found), _keys(exact), strict=True)]
    assert np.mean(common) >= 9
