"""MaxSim is that of ColBERT, exact, in the corpus's order where scores are equal, and takes little memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mmencode
from mmencode.embeddings import maxsim as kernel
from mmencode.embeddings import maxsim_products as products
from mmencode.embeddings.multi import MultiEmbeddings


def unit(rows, dim=8, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make(counts, dim=8, seed=0):
    vectors = unit(int(sum(counts)), dim, seed)
    return MultiEmbeddings(vectors, np.array(counts, np.int64), space="a@1", modality="text")


def by_hand(queries, documents):
    """The definition, one pair at a time, in float64."""
    return np.array(
        [
            [(q.astype(np.float64) @ d.T.astype(np.float64)).max(axis=1).sum() for d in documents.arrays]
            for q in queries.arrays
        ]
    ).reshape(len(queries), len(documents))


def of(*items):
    rows = [np.array(item, np.float32) for item in items]
    return MultiEmbeddings(np.concatenate(rows), [len(item) for item in items], space="a@1", modality="text")


SIZES = (
    *((kernel, "_COLUMNS"), (products, "_TILE"), (kernel, "_SCORES")),
    *((products, "_STRETCH"), (products, "_MAXIMA")),
)
X, Y = [1.0, 0.0], [0.0, 1.0]
D = [0.6, 0.8]


def test_score_is_the_sum_of_the_best_matches():
    queries = of([X, Y], [X])
    documents = of([X], [D], [D, X], [Y, Y, Y], [[-1.0, 0.0]])
    # By hand: X with D is 0.6, Y with D is 0.8; the best of each counts once, however often it is there.
    expected = [[1 + 0, 0.6 + 0.8, 1 + 0.8, 0 + 1, -1 + 0], [1, 0.6, 1, 0, -1]]
    np.testing.assert_allclose(mmencode.similarity(queries, documents), expected, atol=1e-7)
    found = mmencode.search(queries, documents, 3)
    assert found.rows.tolist() == [[2, 1, 0], [0, 2, 1]]
    np.testing.assert_allclose(found.scores, [[1.8, 1.4, 1.0], [1.0, 1.0, 0.6]], atol=1e-7)


def test_score_is_not_symmetric():
    one, two = of([X, Y]), of([X])
    assert mmencode.similarity(one, two) == 1
    assert mmencode.similarity(two, of([X, Y])) == 1
    assert mmencode.similarity(of([X, X]), two) == 2


def test_scores_are_those_of_sentence_transformers():
    util = pytest.importorskip("sentence_transformers.util")
    if not hasattr(util, "maxsim"):
        pytest.skip("sentence-transformers before 6 has no maxsim")
    queries, documents = make([3, 32, 7], 16), make([5, 1, 40, 128, 2, 9], 16, seed=1)
    theirs = util.maxsim(list(queries.arrays), list(documents.arrays)).numpy()
    np.testing.assert_allclose(mmencode.similarity(queries, documents), theirs, atol=1e-5)


def rounded(items):
    """Items with few different vectors, so that many scores are equal."""
    vectors = np.round(items.vectors)
    vectors[np.linalg.norm(vectors, axis=1) != 1] = np.eye(6)[0]
    return items._with(vectors=vectors)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=6),
    st.lists(st.integers(1, 7), min_size=1, max_size=30),
    st.integers(1, 40),
    st.integers(0, 10**6),
    st.sampled_from([(2, 8, 8, 12, 3), (7, 64, 16, 60, 50), (1024, 2**17, 2**22, 2**21, 2**18)]),
)
def test_search_is_the_sorted_similarity_in_any_blocks(queries, documents, k, seed, sizes):
    asked, held = make(queries, 6, seed), make(documents, 6, seed + 1)
    if seed % 2:
        asked, held = map(rounded, (asked, held))
    expected = by_hand(asked, held)
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), size in zip(SIZES, sizes, strict=True):
            patch.setattr(module, name, size)
        scores, found = mmencode.similarity(asked, held), mmencode.search(asked, held, k)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found.rows, order)
    np.testing.assert_array_equal(found.scores, np.take_along_axis(scores, order, axis=1))


def test_scores_that_float32_cannot_tell_apart_are_ranked_right():
    """Documents whose scores differ by less than the error of products in float32."""
    rng = np.random.default_rng(0)
    query = unit(32, 128)
    base = np.repeat(unit(16, 128, 1)[None], 400, axis=0)
    nudged = base + rng.normal(size=base.shape).astype(np.float32) * 1e-7
    documents = MultiEmbeddings(nudged.reshape(-1, 128), [16] * 400, space="a@1", modality="text")
    asked = MultiEmbeddings(query, [32], space="a@1", modality="text")
    exact = by_hand(asked, documents).astype(np.float32)
    assert len(np.unique(exact)) < 400
    expected = np.argsort(-exact, axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(mmencode.search(asked, documents, 10).rows, expected)


def test_a_score_depends_on_nothing_but_its_two_items():
    queries, documents = make([3, 32, 7, 1], 64), make(np.arange(1, 60), 64, seed=1)
    whole = mmencode.similarity(queries, documents)
    for line in range(len(queries)):
        for column in range(0, len(documents), 7):
            assert mmencode.similarity(queries[line], documents[column])[0, 0] == whole[line, column]
    alone = mmencode.search(queries[1], documents, 5)
    together = mmencode.search(queries, documents, 20)
    np.testing.assert_array_equal(alone.rows[0], together.rows[1, :5])
    np.testing.assert_array_equal(alone.scores[0], together.scores[1, :5])


def test_equal_items_keep_the_order_of_the_corpus():
    item = make([4]).vectors
    documents = MultiEmbeddings(np.concatenate([item] * 9), [4] * 9, space="a@1", modality="text")
    for k in (1, 4, 9, 20):
        assert mmencode.search(make([4]), documents, k).rows[0].tolist() == list(range(min(k, 9)))


def test_vectors_a_little_longer_than_one_do_not_mislead():
    long = np.array([X, D], np.float32) * np.float32(1.0009)  # they pass for unit vectors
    documents = MultiEmbeddings(
        np.concatenate([long, np.array([X, D], np.float32)]), [2, 2], space="a@1", modality="text"
    )
    assert mmencode.search(of([X]), documents, 1).rows.tolist() == [[0]]


@pytest.mark.parametrize("precision", ["medium", "high"])
def test_fewer_bits_in_products_and_autocast_change_nothing(precision):
    import torch

    queries, documents = make([32] * 3, 128), make([16] * 300, 128, seed=1)
    expected = mmencode.search(queries, documents, 10)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        with torch.autocast("cpu"):
            found = mmencode.search(queries, documents, 10)
            scores = mmencode.similarity(queries, documents)
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(np.sort(-scores)[:, :10], -expected.scores)


def test_vectors_that_cannot_be_written_to_are_read():
    documents = make([2, 3])
    documents = documents._with(vectors=documents.vectors)
    assert not documents._memory.flags.writeable
    assert mmencode.search(documents, documents, 1).rows.tolist() == [[0], [1]]


def test_places_are_those_in_the_batch():
    documents = make([2, 3, 4])._with(positions=np.array([1, 5, 7]))
    found = mmencode.search(documents[[2, 0]], documents, 1)
    assert (found.rows.tolist(), found.positions.tolist()) == ([[2], [0]], [[7], [1]])


@pytest.mark.parametrize(("queries", "documents"), [((), (2, 3)), ((2,), ()), ((), ())])
def test_nothing_is_found_among_nothing(queries, documents):
    found = mmencode.search(make(queries), make(documents), 5)
    assert found.rows.shape == (len(queries), min(5, len(documents)))
    assert mmencode.similarity(make(queries), make(documents)).shape == (len(queries), len(documents))


def test_bad_arguments_are_named():
    good = make([2, 3])
    with pytest.raises(ValueError, match="k is 0"):
        mmencode.search(good, good, 0)
    with pytest.raises(ValueError, match="of 8 and of 4 numbers"):
        mmencode.search(good, make([2], 4))
    for value, words in ((np.nan, "isn't finite"), (9.0, "has length")):
        vectors = make([2, 3]).vectors.copy()
        vectors[3, 0] = value
        broken = make([2, 3])._with(vectors=vectors)
        with pytest.raises(ValueError, match=f"row 3 {words}"):
            mmencode.search(good, broken)


@pytest.mark.parametrize(("kind", "recall"), [("float16", 0.97), ("binary", 0.1)])
def test_codes_are_searched_as_the_vectors_they_stand_for(kind, recall):
    documents, queries = make([16] * 2000, 64, seed=1), make([8] * 4, 64)
    codes = documents.quantize(kind)
    exact = mmencode.search(queries, documents, 10)
    found = mmencode.search(queries, codes, 10)
    np.testing.assert_array_equal(found.rows, mmencode.search(queries, codes.dequantize(), 10).rows)
    shared = [len(set(a) & set(b)) for a, b in zip(found.rows.tolist(), exact.rows.tolist(), strict=True)]
    assert np.mean(shared) / 10 >= recall


def test_memory_does_not_grow_with_the_corpus():
    def peak(count):
        documents, queries = make([16] * count, 16, seed=1), make([32] * 32, 16)
        documents.require_unit()
        tracemalloc.start()
        mmencode.search(queries, documents, 10)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "_TILE", 2**16)
        patch.setattr(kernel, "_SCORES", 2**12)
        assert peak(4000) < 1.2 * peak(1000) + 2**18


def test_one_long_document_is_compared_a_stretch_at_a_time():
    documents, queries = make([1, 20_000, 2], 4), make([32] * 8, 4, seed=1)
    documents.require_unit()
    tracemalloc.start()
    found = mmencode.search(queries, documents, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.rows.tolist() == [[1]] * 8
    assert peak < 16 * 2**20  # all products at once would take 20 MiB in float32, and as much again


def test_products_of_another_device_give_the_same_scores(monkeypatch):
    """The way of other devices, on the CPU, in tiles that hold a few documents each."""
    queries, documents = make([3, 32, 7, 1], 64), make(np.arange(1, 60), 64, seed=1)
    expected = mmencode.search(queries, documents, 5), mmencode.similarity(queries, documents)
    monkeypatch.setattr(products, "_DEVICE_TILE", 2**12)
    monkeypatch.setattr(products.QueryBlock, "_find_best", products.QueryBlock._find_on_device)
    found = mmencode.search(queries, documents, 5)
    np.testing.assert_array_equal(found.rows, expected[0].rows)
    np.testing.assert_array_equal(found.scores, expected[0].scores)
    np.testing.assert_array_equal(mmencode.similarity(queries, documents), expected[1])


@pytest.mark.gpu
def test_a_gpu_finds_what_the_cpu_finds():
    queries, documents = make([32] * 40, 128), make(np.arange(1, 200), 128, seed=1)
    for corpus in (documents, documents.quantize("float16")):
        expected = mmencode.search(queries, corpus, 10)
        found = mmencode.search(queries, corpus, 10, device="cuda")
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.scores, expected.scores)
    scores = mmencode.similarity(queries, documents, device="cuda")
    np.testing.assert_allclose(scores, mmencode.similarity(queries, documents), rtol=0, atol=2e-6)
