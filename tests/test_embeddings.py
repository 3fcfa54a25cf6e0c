from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmencode.embeddings.embeddings import Embeddings
from mmencode.embeddings.search import search, similarity
from mmencode.errors import InputError, SpaceMismatchError


def make(rows=5, dim=4, space="a@1", modality="text", seed=0, **options):
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embeddings(vectors, space=space, modality=modality, **options)


ERROR = InputError("it is empty", source="a.jpg", remedy="fetch it", index=2)


def test_vectors_are_contiguous_float32_and_seen_without_a_copy():
    embeddings = Embeddings(np.zeros((3, 8), np.float64)[:, ::2], space="a@1", modality="text")
    assert embeddings.vectors.dtype == np.float32
    assert embeddings.vectors.flags.c_contiguous
    assert np.shares_memory(np.asarray(embeddings), embeddings.vectors)
    assert not np.shares_memory(np.array(embeddings), embeddings.vectors)
    assert np.asarray(embeddings, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="needs a copy"):
        embeddings.__array__(np.float64, copy=False)


@pytest.mark.parametrize(
    "rows", [2, -1, slice(1, 4), slice(None, None, 2), [0, 3], np.array([True] * 2 + [False] * 3)]
)
def test_indexing_keeps_identity_and_positions(rows):
    embeddings = make(positions=np.array([0, 1, 3, 4, 5]), errors=[ERROR])
    part = embeddings[rows]
    expected = embeddings.vectors[[rows] if isinstance(rows, int) else rows]
    np.testing.assert_array_equal(part.vectors, expected)
    assert (part.space, part.modality, part.errors) == ("a@1", "text", (ERROR,))
    np.testing.assert_array_equal(
        embeddings.vectors[np.searchsorted(embeddings.positions, part.positions)], expected
    )


def test_iteration_ends():
    assert len(list(make(3))) == 3
    with pytest.raises(IndexError):
        make(3)[3]


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        Embeddings(np.zeros(4, np.float32), space="a@1", modality="text")
    with pytest.raises(ValueError, match="positions"):
        make(positions=np.arange(4))


def test_concatenation_keeps_order_and_identity():
    both = Embeddings.concatenate([make(2, errors=[ERROR]), make(3, modality="image", seed=1)])
    np.testing.assert_array_equal(both.vectors, np.concatenate([make(2).vectors, make(3, seed=1).vectors]))
    assert (both.modality, both.positions.tolist(), both.errors) == ("mixed", [0, 1, 0, 1, 2], (ERROR,))
    assert Embeddings.concatenate([make(), make()]).modality == "text"
    with pytest.raises(ValueError, match="nothing"):
        Embeddings.concatenate([])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (2, "c"),
        (-1, "e"),
        (slice(1, 4), "bcd"),
        (slice(None, None, -2), "eca"),
        ([0, 3], "ad"),
        (np.array([3, -5]), "da"),
        (np.array([True] * 2 + [False] * 3), "ab"),
        ([], ""),
    ],
)
def test_indexing_keeps_the_keys_of_its_rows(rows, expected):
    assert make(keys=list("abcde"))[rows].keys == tuple(expected)


def test_paths_become_keys(tmp_path):
    assert make(2, keys=[tmp_path / "a.jpg", "b.jpg"]).keys == (str(tmp_path / "a.jpg"), "b.jpg")


@pytest.mark.parametrize("keys", [[], ["a"], ["a", "b", "c"]])
def test_keys_are_as_many_as_rows(keys):
    with pytest.raises(ValueError, match=f"2 vectors have {len(keys)} keys"):
        make(2, keys=keys)


def test_concatenation_keeps_keys_where_all_parts_have_them():
    both = Embeddings.concatenate([make(2, keys=["a", "b"]), make(1, keys=["c"]), make(0, keys=[])])
    assert both.keys == ("a", "b", "c")
    assert Embeddings.concatenate([make(2, keys=["a", "b"]), make(1)]).keys is None


def test_tensor_shares_the_memory_of_the_vectors():
    embeddings = make()
    tensor = embeddings.torch()
    tensor[1, 2] = 7
    assert (tensor.shape, embeddings.vectors[1, 2]) == ((5, 4), 7)


@settings(deadline=None)
@given(st.integers(0, 5), st.integers(1, 9), st.data())
def test_truncation_keeps_the_direction_of_the_first_numbers(rows, dim, data):
    cut = data.draw(st.integers(1, dim))
    embeddings = make(rows, dim)
    part = embeddings.truncate(cut, force=True)
    lengths = np.linalg.norm(embeddings.vectors[:, :cut], axis=1, keepdims=True)
    np.testing.assert_allclose(part.vectors * lengths, embeddings.vectors[:, :cut], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(part.vectors, axis=1), 1, rtol=1e-6)


def test_truncation_carries_all_but_the_space():
    part = make(5, keys=list("abcde"), positions=np.array([0, 1, 3, 4, 5]), errors=[ERROR]).truncate(
        2, force=True
    )
    assert (part.space, part.modality, part.errors) == ("a@1:first2", "text", (ERROR,))
    assert (part.keys, part.positions.tolist()) == (tuple("abcde"), [0, 1, 3, 4, 5])


def test_truncations_of_one_space_to_one_width_are_comparable():
    assert similarity(make().truncate(2, force=True), make(seed=1).truncate(2, force=True)).shape == (5, 5)


@pytest.mark.parametrize(
    "other",
    [make(), make().truncate(3, force=True), make(space="b@2").truncate(2, force=True), make(dim=2)],
    ids=lambda e: e.space,
)
def test_truncations_are_comparable_with_nothing_else(other):
    with pytest.raises(SpaceMismatchError, match="a@1:first2"):
        similarity(make().truncate(2, force=True), other)


def test_truncating_twice_is_truncating_once():
    once, twice = make().truncate(2, force=True), make().truncate(3, force=True).truncate(2, force=True)
    assert once.space == twice.space
    np.testing.assert_allclose(once.vectors, twice.vectors, atol=1e-6)


def test_all_numbers_are_no_truncation():
    embeddings = make()
    assert embeddings.truncate(4, force=True) is embeddings


@pytest.mark.parametrize("dim", [0, -1, 5, 2.0, True])
def test_truncation_is_to_a_width_that_there_is(dim):
    with pytest.raises(ValueError, match="from 1 to 4"):
        make().truncate(dim, force=True)


def test_vectors_without_direction_after_truncation_are_refused():
    embeddings = Embeddings(np.eye(3), space="a@1", modality="text")
    with pytest.raises(ValueError, match=r"first 1 numbers of row 1 are all zero.*2 such rows of 3"):
        embeddings.truncate(1, force=True)


def test_tiny_first_numbers_have_a_direction():
    embeddings = Embeddings(np.array([[3e-40, 4e-40, 1]]), space="a@1", modality="text")
    np.testing.assert_allclose(embeddings.truncate(2, force=True).vectors, [[0.6, 0.8]], rtol=1e-4)


def test_similarity_is_the_cosine():
    a, b = make(3), make(5, seed=1)
    expected = [[float(np.dot(x, y)) for y in b.vectors] for x in a.vectors]
    np.testing.assert_allclose(similarity(a, b), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "use",
    [
        similarity,
        search,
        lambda a, b: Embeddings.concatenate([a, b]),
    ],
)
def test_two_spaces_of_equal_width_are_refused(use):
    with pytest.raises(SpaceMismatchError, match=r"a@1 and b@2(.|\n)*mmencode.load"):
        use(make(), make(space="b@2"))


@pytest.mark.parametrize("use", [similarity, search])
def test_bare_arrays_are_refused_because_nobody_knows_their_space(use):
    with pytest.raises(TypeError, match="doesn't say what space"):
        use(make(), make().vectors)
    with pytest.raises(TypeError, match="doesn't say what space"):
        use(make().vectors, make())


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 50), st.integers(0, 9))
def test_search_finds_what_sorting_finds(queries, corpus, k, seed):
    a, b = make(queries, seed=seed), make(corpus, seed=seed + 1)
    matches = search(a, b, k)
    expected = np.argsort(-similarity(a, b), axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(matches.rows, expected)
    np.testing.assert_array_equal(matches.scores, np.take_along_axis(similarity(a, b), expected, axis=1))
    assert len(matches) == queries


def test_search_in_blocks_is_the_same(monkeypatch):
    a, b = make(7), make(20, seed=1)
    expected = search(a, b, 3)
    monkeypatch.setattr("mmencode.embeddings.topk.BLOCK", 40)
    np.testing.assert_array_equal(search(a, b, 3).rows, expected.rows)


def test_search_says_positions_where_items_were_skipped():
    corpus = make(3, positions=np.array([0, 2, 5]))
    assert search(corpus, corpus, 1).positions.tolist() == [[0], [2], [5]]


def test_equal_scores_keep_the_corpus_order():
    corpus = Embeddings(np.full((4, 2), 0.5**0.5), space="a@1", modality="text")
    assert search(corpus[0], corpus, 4).rows.tolist() == [[0, 1, 2, 3]]


def test_empty_sides_give_empty_results():
    assert search(make(0), make(3), 2).rows.shape == (0, 2)
    assert search(make(2), make(0), 2).rows.shape == (2, 0)
    assert similarity(make(0), make(3)).shape == (0, 3)


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_k_is_a_positive_int(k):
    with pytest.raises(ValueError, match="k is"):
        search(make(), make(), k)


def test_repr_says_what_it_is():
    assert repr(make(errors=[ERROR])) == "<Embeddings 5 x 4, text, a@1, 1 skipped>"


def test_names_of_the_batch_become_the_keys_of_the_rows_that_are_there():
    rows = Embeddings(np.eye(2), space="a@1", modality="text", positions=np.array([0, 2]))
    assert rows.with_keys(["zero", "one", "two"]).keys == ("zero", "two")
    assert rows.keys is None
    assert rows[:0].with_keys([]).keys == ()
    with pytest.raises(ValueError, match="rows come from items up to 2, and there are 2 keys"):
        rows.with_keys(["zero", "one"])


def test_former_name_of_with_keys_gives_the_same():
    rows = make(2)
    assert rows.named(names=["a", "b"]).keys == rows.with_keys(keys=["a", "b"]).keys == ("a", "b")


def test_names_and_keys_are_taken_by_place_and_never_from_a_table():
    pandas = pytest.importorskip("pandas")
    names = pandas.Series(["zero", "one", "two"], index=[2, 0, 1])
    rows = Embeddings(np.eye(2), space="a@1", modality="text", positions=np.array([0, 2]))
    assert rows.with_keys(names).keys == ("zero", "two")
    assert Embeddings(np.eye(3), space="a@1", modality="text", keys=names).keys == ("zero", "one", "two")
    for table in (pandas.DataFrame({"a": [1], "b": [2]}), {"a": 1, "b": 2}, {"a", "b"}):
        with pytest.raises(TypeError, match="keys must be a list"):
            rows.with_keys(table)
        with pytest.raises(TypeError, match="keys must be a list"):
            Embeddings(np.eye(2), space="a@1", modality="text", keys=table)


@pytest.mark.parametrize("dim", [np.int64(2), np.uint8(2)])
def test_widths_of_any_integer_type_are_taken(dim):
    assert make().truncate(dim, force=True).space == "a@1:first2"
