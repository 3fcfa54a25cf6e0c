"""An index whose rows have many vectors each: exact, or approximate with exact scores, pooled and halved."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import mmencode
from mmencode import Embeddings, Index, Runtime, Space
from mmencode.embeddings.multi import MultiEmbeddings
from mmencode.errors import SpaceMismatchError, StoreError
from mmencode.index import ann, filling, store
from mmencode.plugins.spec import EncoderSpec
from mmencode.testing import FakeMultiText, fake_multi_specs, fake_specs

TEXTS = ["a red car, parked", "two dogs", "the old bridge", "dogs and cars", "bridge over water"]
SETTINGS = [{}, {"precision": "float16"}, {"pool": 2}, {"precision": "float16", "pool": 3, "protected": 1}]


class Wide(FakeMultiText):
    """Wide enough for codes; never built, since these tests give vectors."""

    width = 128


class Mirrored(FakeMultiText):
    """The numbers of each vector in the opposite order."""

    preprocessing = "characters, from behind"

    def forward_tokens(self, tensors):
        hidden, mask = super().forward_tokens(tensors)
        return hidden.flip(-1), mask


@pytest.fixture
def late():
    with Space("late", fake_multi_specs("late"), runtime=Runtime("cpu", batch_size=4, workers=1)) as space:
        yield space


@pytest.fixture
def wide():
    spec = EncoderSpec(name="wide", modality="text", target=f"{__name__}:Wide", dim=128, outputs="many")
    with Space("wide", [spec], runtime=Runtime("cpu")) as space:
        yield space


def draw(space, count, seed=0, modality="text", most=12, words=None):
    """Items of a few words each, out of a vocabulary, each in a context of its own; keys in another order."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, most, count)
    vocabulary = np.random.default_rng(99).normal(size=(words or 300, space.dim))
    rows = vocabulary[rng.integers(0, len(vocabulary), counts.sum())]
    rows = rows + rng.normal(size=rows.shape) * (0 if words else 0.3)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    keys = [f"{modality}{number:05}" for number in rng.permutation(count)]
    return MultiEmbeddings(rows, counts, space=space.id, modality=modality, keys=keys)


def pairs(hits):
    return [[(hit.key, hit.score) for hit in row] for row in hits]


def by_search(queries, corpus, k):
    """What `mmencode.search` finds, with equal scores in the order of keys."""
    order = sorted(range(len(corpus)), key=lambda place: corpus.keys[place])
    corpus = (corpus if isinstance(corpus, MultiEmbeddings) else corpus.dequantize())[order]
    found = mmencode.search(queries, corpus, k)
    return [
        [(corpus.keys[row], float(score)) for row, score in zip(rows, scores, strict=True)]
        for rows, scores in zip(found.rows.tolist(), found.scores, strict=True)
    ]


@pytest.mark.parametrize("settings", SETTINGS)
def test_rows_and_scores_are_those_of_search(tmp_path, late, settings):
    with Index.create(tmp_path / "index", late, **settings) as index:
        assert index.add("text", TEXTS).added == 5
        assert index.add("text", TEXTS).unchanged == 5
        corpus = late.encode_multi(
            "text", TEXTS, pool=settings.get("pool", 1), protected=settings.get("protected", 0)
        ).with_keys(TEXTS)
        held = corpus.quantize("float16") if "precision" in settings else corpus
        queries = late.encode_multi("text", ["dogs", "a car"])
        assert pairs(index.search("text", ["dogs", "a car"], 3)) == by_search(queries, held, 3)
        rows = index.rows().embeddings
        assert (rows.space, rows.keys, rows.towers) == (corpus.space, tuple(sorted(TEXTS)), corpus.towers)
        assert rows.counts.sum() == corpus.counts.sum()
        assert index.recall() == 1
    with Index.open(tmp_path / "index", space=late) as again:  # the settings are the index's own
        assert again.rows().embeddings.space == corpus.space
        assert pairs(again.search_embeddings(queries, 5)) == by_search(queries, held, 5)


@pytest.mark.parametrize("k", [1, 7, 50])
def test_equal_scores_come_in_the_order_of_keys_alone_and_among_others(tmp_path, late, k, monkeypatch):
    monkeypatch.setattr("mmencode.index.scoring.ManyQueries.scanned", 16)
    items = draw(late, 60, words=4)  # of four different vectors, so that many scores are equal
    with Index.create(tmp_path / "index", late) as index:
        for start in range(0, 60, 25):
            index.add_embeddings(items[start : start + 25])
        queries = draw(late, 6, seed=5, words=4)
        together = pairs(index.search_embeddings(queries, k))
        assert together == by_search(queries, items, k)
        assert [pairs(index.search_embeddings(queries[place], k))[0] for place in range(6)] == together


def test_conditions_modalities_metadata_and_deletion_are_those_of_any_index(tmp_path, late):
    texts, images = draw(late, 40), draw(late, 30, seed=1, modality="image")
    with Index.create(tmp_path / "index", late) as index:
        index.add_embeddings(texts, metadata=[{"n": number % 4} for number in range(40)])
        index.add_embeddings(images)
        assert (len(index), index.modalities) == (70, ("image", "text"))
        queries = draw(late, 2, seed=7)
        found = pairs(index.search_embeddings(queries, 9, among="text", where="n = 1"))
        assert found == by_search(queries, texts[np.arange(40) % 4 == 1], 9)
        assert {hit.modality for hit in index.search_embeddings(queries, 9, among="image")[0]} == {"image"}
        assert index.add_embeddings(texts[3:6]).replaced == 3
        assert index.delete("n = 1") == 10 - sum(place % 4 == 1 for place in (3, 4, 5))
        assert index.delete(keys=[images.keys[0]]) == 1
        index.compact()
        assert pairs(index.search_embeddings(queries, 99, among="image")) == by_search(
            queries, images[1:], 99
        )
        with pytest.raises(ValueError, match="can't be centred"):
            index.search_embeddings(queries, centred=True)


@pytest.fixture(params=[(8, "IVF_FLAT"), (128, "IVF_RQ")], ids=lambda param: param[1])
def large(request, tmp_path, late, wide, monkeypatch):
    """An index that counts as large, with 1500 rows in it and 10 that came later."""
    dim, method = request.param
    space = late if dim == 8 else wide
    monkeypatch.setattr(ann, "FROM_ITEMS", 1000)
    monkeypatch.setattr(store, "FROM_ITEMS", 1000)
    with Index.create(tmp_path / "index", space, precision="float16") as index:
        index.add_embeddings(draw(space, 1500))
        later = draw(space, 10, seed=3)
        index.add_embeddings(later.with_keys([f"later {number}" for number in range(10)]))
        state = index.state()
        assert (state.method, state.covered, sum(state.rows.values())) == (method, 1500, 1510)
        yield index, space


def test_a_large_index_is_approximate_with_exact_scores_and_says_its_recall(large, monkeypatch):
    index, space = large
    queries = draw(space, 20, seed=8)
    assert index.recall(queries=queries) > 0.9
    assert index.recall(sample=20) > 0.9
    exact = dict(pairs(index.search_embeddings(queries, 1510, exact=True))[0])
    for key, score in pairs(index.search_embeddings(queries[0], 10))[0]:
        assert score == exact[key]
    rows = index.rows().embeddings
    assert pairs(index.search_embeddings(queries, 10, exact=True)) == by_search(queries, rows, 10)
    assert [hit.key for hit in index.search_embeddings(rows[rows.keys.index("later 4")], 1)[0]] == ["later 4"]
    monkeypatch.setattr(ann, "PARTITIONS", 1)
    monkeypatch.setattr("mmencode.index.searching.CANDIDATE_ITEMS", 1)
    assert index.recall(k=10, queries=queries) < 0.9


def test_a_mixed_kind_is_refused_both_ways_and_nothing_is_written(tmp_path, late):
    single = Space("fake", fake_specs(), runtime=Runtime("cpu"))
    one = Embeddings(np.eye(8, dtype=np.float32)[:1], space=late.id, modality="text", keys=["a"])
    many = MultiEmbeddings(np.eye(8, dtype=np.float32)[:2], [2], space=single.id, modality="text", keys=["a"])
    with Index.create(tmp_path / "many", late) as held:
        for call in (held.add_embeddings, held.search_embeddings):
            with pytest.raises(SpaceMismatchError, match="many vectors for each row") as caught:
                call(one)
            assert "encode_multi()" in caught.value.remedy
            with pytest.raises(TypeError, match="ndarray can't be"):
                call(one.vectors)
        assert len(held) == 0
    with Index.create(tmp_path / "one", single) as held:
        for call in (held.add_embeddings, held.search_embeddings):
            with pytest.raises(SpaceMismatchError, match="one vector for each row"):
                call(many)
        assert len(held) == 0
        with pytest.raises(SpaceMismatchError):
            Index.open(tmp_path / "one", space=late)


def test_settings_that_fit_no_space_make_no_index(tmp_path, late):
    with Space("fake", fake_specs(), runtime=Runtime("cpu")) as single:
        for settings in ({"pool": 2}, {"precision": "float16"}, {"protected": 1}):
            with pytest.raises(ValueError, match="are for items with many vectors"):
                Index.create(tmp_path / "index", single, **settings)
    for settings in ({"pool": 0}, {"pool": True}, {"precision": "int8"}, {"protected": -1}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            Index.create(tmp_path / "index", late, **settings)
    assert not (tmp_path / "index").exists()


def test_vectors_are_pooled_as_the_index_was_made_to_and_not_otherwise(tmp_path, late):
    items = late.encode_multi("text", TEXTS).with_keys(TEXTS)
    with Index.create(tmp_path / "pooled", late, pool=2) as index:
        index.add_embeddings(items[:2])
        index.add_embeddings(items[2:].pool(2))
        held = index.rows().embeddings
        expected = items.pool(2)[[TEXTS.index(key) for key in held.keys]]
        np.testing.assert_array_equal(held.vectors, expected.vectors)
        with pytest.raises(SpaceMismatchError, match="pool3, and the index has pool=2"):
            index.add_embeddings(items.pool(3))
    with (
        Index.create(tmp_path / "whole", late) as index,
        pytest.raises(SpaceMismatchError, match="pool2, and the index has pool=1"),
    ):
        index.add_embeddings(items.pool(2))


def test_vectors_of_another_space_or_width_are_refused(tmp_path, late, wide):
    with Index.create(tmp_path / "index", late) as index:
        for call in (index.add_embeddings, index.search_embeddings):
            with pytest.raises(SpaceMismatchError, match="wide@"):
                call(draw(wide, 2))
            narrow = MultiEmbeddings(
                np.eye(4, dtype=np.float32), [4], space=late.id, modality="text", keys=["a"]
            )
            with pytest.raises(ValueError, match="has 4 numbers"):
                call(narrow)
            broken = draw(late, 2)
            vectors = np.concatenate([np.full_like(broken.vectors[:1], np.nan), broken.vectors[1:]])
            broken = broken._with(vectors=vectors)
            with pytest.raises(ValueError, match="isn't finite"):
                call(broken)


def test_items_that_fail_are_listed_and_the_others_added(tmp_path, late):
    with Index.create(tmp_path / "index", late) as index:
        done = index.add("text", ["dogs", " ... ", "cars"], on_error="skip")
        assert (done.added, [failure.key for failure in done.failed]) == (2, [" ... "])
        assert [failure.key for failure in index.failures()] == [" ... "]
        assert index.rows().embeddings.keys == ("cars", "dogs")


def test_long_items_are_committed_before_they_fill_the_memory(tmp_path, late, monkeypatch):
    monkeypatch.setattr(filling, "HEAVIEST", 1)
    monkeypatch.setattr(filling, "CHUNK_OF_MANY", 2)
    commits = []
    put_rows = mmencode.index.writer.Writer.put_rows
    monkeypatch.setattr(
        mmencode.index.writer.Writer,
        "put_rows",
        lambda self, rows, vectors: commits.append(len(rows.keys)) or put_rows(self, rows, vectors),
    )
    with Index.create(tmp_path / "index", late) as index:
        index.add("text", TEXTS)
    assert commits == [2, 2, 1]


def test_an_index_travels(tmp_path, late):
    with Index.create(tmp_path / "index", late, pool=2) as index:
        index.add("text", TEXTS)
        with pickle.loads(pickle.dumps(index)) as other:
            assert other.rows().embeddings.space == index.rows().embeddings.space
            assert pairs(other.search("text", ["dogs"])) == pairs(index.search("text", ["dogs"]))


def test_tables_of_another_layout_are_refused(tmp_path, late):
    for name, settings in (("a", {}), ("b", {"pool": 2})):
        with Index.create(tmp_path / name, late, **settings) as index:
            index.add("text", TEXTS)
    (tmp_path / "a" / "rows.lance").rename(tmp_path / "old")
    (tmp_path / "b" / "rows.lance").rename(tmp_path / "a" / "rows.lance")
    with pytest.raises(StoreError, match="aren't those of one index"):
        Index.open(tmp_path / "a", space=late)


def test_a_token_match_is_found_that_one_vector_misses(tmp_path, late):
    """The word is in one long text; the mean of short ones of like letters lies nearer to it."""
    needle = "the ship zyxwvq lay in the harbour for many weeks before anyone came to look at it"
    hay = ["zzyy xxww", "vvqq zzxx", "wwvv yyqq", "xyzz wqqx"]
    texts = [*hay, needle]
    query = ["zyxwvq"]
    corpus, asked = late.encode_multi("text", texts), late.encode_multi("text", query)
    by_mean = mmencode.search(asked.mean(), corpus.mean(), 1)
    assert texts[by_mean.rows[0, 0]] != needle
    with Index.create(tmp_path / "index", late) as index:
        index.add("text", texts)
        (hits,) = index.search("text", query, 5)
    assert hits[0].key == needle
    assert hits[0].score > hits[1].score


def test_many_vectors_of_two_encoders_are_not_put_together(late):
    first = late.encode_multi("text", TEXTS)
    assert list(first.towers) == ["text"]
    for change in (copy.copy, lambda value: pickle.loads(pickle.dumps(value))):
        assert change(first).towers == first.towers
    other = first._with(towers={"text": "another"})
    with pytest.raises(SpaceMismatchError, match="two encoders of one space"):
        MultiEmbeddings.concatenate([first, other])


def test_a_search_asks_with_the_queries_side(tmp_path):
    """The queries' side gives other vectors, so that its answer shows which one was asked."""
    target = f"{__name__}:Mirrored"
    asking = EncoderSpec(
        name="late/asking", modality="text", role="query", target=target, space="late", dim=8, outputs="many"
    )
    with (
        Space("late", [*fake_multi_specs("late"), asking], runtime=Runtime("cpu")) as space,
        Index.create(tmp_path / "index", space) as index,
    ):
        index.add("text", TEXTS)
        queries = space.encode_multi("text", ["dogs"], role="query")
        assert pairs(index.search("text", ["dogs"], 3)) == by_search(queries, index.rows().embeddings, 3)
        assert index.search("text", ["dogs"], 1)[0][0].score < 4  # which the documents' side would reach
