"""Rows aligned with their batch: items that failed have blank rows, which nothing takes for vectors."""

from __future__ import annotations

import numpy as np
import pytest

import mmencode
from mmencode import Embeddings, Index, MultiEmbeddings
from mmencode.embeddings.combining import combine
from mmencode.errors import InputError
from mmencode.pages.surveys import survey
from mmencode.testing import sample_items

TEXTS = ["a dog", " ", "a cat", "", "a car"]


def test_batch_with_failures_has_a_row_for_every_item(space):
    found = space.encode("text", TEXTS, on_error="blank")
    assert found.shape == (5, space.dim)
    assert found.blank.tolist() == [False, True, False, True, False]
    assert np.isnan(found.vectors[[1, 3]]).all()
    assert found.positions.tolist() == [0, 1, 2, 3, 4]
    assert [error.index for error in found.errors] == [1, 3]
    np.testing.assert_array_equal(found[~found.blank], space.encode("text", TEXTS, on_error="skip"))


@pytest.mark.parametrize("texts", [[], [""], ["", " "], ["a", "b"]])
def test_there_are_as_many_rows_as_items(space, texts):
    assert len(space.encode("text", texts, on_error="blank")) == len(texts)
    assert len(space.encode("text", iter(texts), on_error="blank")) == len(texts)


def test_zeros_may_be_asked_for(space):
    found = space.encode("text", TEXTS, on_error="skip").with_blanks("zero")
    assert (found.vectors[[1, 3]] == 0).all()
    assert found.blank.tolist() == [False, True, False, True, False]
    np.testing.assert_array_equal(found.with_blanks("nan"), space.encode("text", TEXTS, on_error="blank"))
    with pytest.raises(ValueError, match='make it "nan" or "zero"'):
        found.with_blanks("none")


def test_rows_without_failures_are_aligned_already(space):
    found = space.encode("text", ["a", "b"])
    assert found.with_blanks() is found
    assert found.with_keys(["x", "y"]).with_blanks().keys == ("x", "y")


def test_stream_aligns_each_part(space):
    parts = list(space.stream("text", TEXTS, chunk=2, on_error="blank"))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert [part.positions.tolist() for part in parts] == [[0, 1], [2, 3], [4]]
    together = Embeddings.concatenate(parts)
    np.testing.assert_array_equal(together, space.encode("text", TEXTS, on_error="blank"))


def test_mixed_batches_are_aligned(space):
    pairs = [("text", "a dog"), ("image", b"nothing"), ("image", sample_items("image", 1)[0]), ("text", " ")]
    found = space.encode_mixed(pairs, on_error="blank")
    assert found.blank.tolist() == [False, True, False, True]
    assert len(mmencode.encode("text", TEXTS, space=space, on_error="blank")) == 5


def test_keys_are_given_to_aligned_rows_in_the_order_of_items(space):
    found = space.encode("text", TEXTS, on_error="blank").with_keys(list("abcde"))
    assert found[~found.blank].keys == ("a", "c", "e")


def test_rows_that_were_picked_cannot_be_aligned(space):
    found = space.encode("text", TEXTS, on_error="skip")
    with pytest.raises(ValueError, match="item 2 has neither a row nor an error here"):
        found[[0, 2]].with_blanks()
    twice = Embeddings.concatenate([found, found])
    with pytest.raises(ValueError, match="align each part before"):
        twice.with_blanks()


def test_rows_in_another_order_are_put_into_that_of_the_batch(space):
    found = space.encode("text", ["a", "b", "c"]).with_keys(["a", "b", "c"])
    turned = found[[2, 0, 1]].with_blanks()
    assert turned.keys == ("a", "b", "c")
    np.testing.assert_array_equal(turned, found)


def test_other_words_for_errors_are_refused(space):
    for call in (space.encode, space.stream):
        with pytest.raises(ValueError, match='make it "raise", "skip" or "blank"'):
            call("text", ["a"], on_error="ignore")


# Nothing takes a blank row for a vector.


@pytest.fixture(params=["nan", "zero"])
def blank(request, space):
    return space.encode("text", TEXTS, on_error="skip").with_blanks(request.param).with_keys(list("abcde"))


def test_similarity_and_search_refuse_blank_rows(space, blank):
    good = space.encode("text", ["a dog"])
    calls = [
        lambda: mmencode.similarity(good, blank),
        lambda: mmencode.similarity(blank, good),
        lambda: mmencode.search(good, blank),
        lambda: space.search(blank, good),
        lambda: space.classifier(["dog", "cat"]).rank(blank),
        blank.require_unit,
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"row 1 (isn't finite|has length 0).*\[~embeddings.blank\]"):
            call()
    assert mmencode.search(good, blank[~blank.blank], 1).positions.tolist() == [[0]]


def test_index_refuses_blank_rows(space, blank, tmp_path):
    pytest.importorskip("lancedb")
    with Index.create(tmp_path / "index", space) as index:
        for call in (index.add_embeddings, index.search_embeddings):
            with pytest.raises(ValueError, match=r"row 1 (isn't finite|has length 0)"):
                call(blank)
        index.add_embeddings(blank[~blank.blank])
        assert [hits[0].key for hits in index.search("text", ["a car"], 1)] == ["e"]
        with pytest.raises(ValueError, match='make it "raise" or "skip"'):
            index.add("text", TEXTS, on_error="blank")


@pytest.mark.parametrize(
    "use",
    [
        lambda rows: rows.quantize("int8"),
        lambda rows: rows.quantize("binary"),
        lambda rows: combine(rows, [1, 1, 1, 1, 1]),
        survey,
        lambda rows: mmencode.autoencode(Embeddings.concatenate([rows] * 20), 2),
    ],
    ids=["int8", "binary", "combine", "survey", "autoencode"],
)
def test_what_is_made_of_rows_refuses_blank_ones(blank, use):
    with pytest.raises(ValueError, match="row 1 is blank, since its item failed"):
        use(blank)


# Many vectors


def test_items_of_many_vectors_are_aligned():
    errors = [InputError("it is blank", source="b", index=1)]
    vectors = np.eye(3, 4, dtype=np.float32)
    many = MultiEmbeddings(
        vectors, [2, 1], space="a@1", modality="text", positions=np.array([0, 2]), errors=errors
    )
    found = many.with_blanks()
    assert (found.counts.tolist(), found.positions.tolist()) == ([2, 1, 1], [0, 1, 2])
    assert found.blank.tolist() == [False, True, False]
    np.testing.assert_array_equal(found[[0, 2]].vectors, vectors)
    with pytest.raises(ValueError, match="isn't finite"):
        mmencode.search(many, found)
    assert len(mmencode.search(many, found[~found.blank], 1)) == 2
    assert found.with_blanks("zero").vectors[2].tolist() == [0, 0, 0, 0]
