"""Rows by their keys, with texts kept beside them and metadata of any depth."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("lancedb", reason="an index needs LanceDB: pip install 'mmencode[index]'")

from mmencode import Index
from mmencode.errors import UnknownNameError


@pytest.fixture
def index(tmp_path, space):
    with Index.create(tmp_path / "index", space) as made:
        yield made


def test_rows_come_in_the_order_of_the_keys(index, space):
    index.add(
        "text", ["a", "b", "c"], keys=["k1", "k2", "k3"], metadata=[{"year": year} for year in (1, 2, 3)]
    )
    found = index.get(["k3", "k1", "k3"])
    assert found.embeddings.keys == ("k3", "k1", "k3")
    assert [row["year"] for row in found.metadata] == [3, 1, 3]
    np.testing.assert_allclose(found.embeddings, space.encode("text", ["c", "a", "c"]), atol=1e-6)
    assert len(index.get([]).embeddings) == 0


def test_more_keys_than_one_condition_holds_are_found(index, space):
    texts = [f"text {number}" for number in range(1100)]
    index.add("text", texts)
    assert index.get(texts[::-1]).embeddings.keys == tuple(texts[::-1])


def test_key_that_no_row_has_is_an_error_or_left_out(index):
    index.add("text", ["a"])
    with pytest.raises(UnknownNameError, match="no row has the key 'b'"):
        index.get(["a", "b"])
    assert index.get(["b", "a"], missing="skip").embeddings.keys == ("a",)
    assert len(index.get(["b"], missing="skip").embeddings) == 0
    with pytest.raises(ValueError, match='make it "raise" or "skip"'):
        index.get(["a"], missing="ignore")


@pytest.mark.parametrize("keys", ["a", {"a", "b"}])
def test_keys_without_an_order_are_refused(index, keys):
    with pytest.raises(TypeError, match="keys is one"):
        index.get(keys)


def test_keys_are_found_whatever_characters_they_have(index):
    keys = ["it's", 'a "quote"', "\udcff.jpg", "línea"]
    index.add("text", ["a", "b", "c", "d"], keys=keys)
    assert index.get(keys[::-1]).embeddings.keys == tuple(keys[::-1])


def test_rows_with_many_vectors_are_got_as_well(tmp_path):
    from mmencode import Runtime, Space
    from mmencode.testing import fake_multi_specs

    letters = Space("letters", fake_multi_specs("letters"), runtime=Runtime("cpu"))
    with Index.create(tmp_path / "many", letters) as index:
        index.add("text", ["a cat", "a dog and a cat"])
        found = index.get(["a dog and a cat", "a cat"]).embeddings
        assert (
            found.counts.tolist()
            == letters.encode_multi("text", ["a dog and a cat", "a cat"]).counts.tolist()
        )


# Texts


def test_text_is_kept_beside_its_key_on_request(index):
    index.add("text", ["a dog", "a cat"], keys=["1", "2"], keep_text=True)
    (hits,) = index.search("text", ["a cat"], k=1)
    assert (hits[0].key, hits[0].metadata) == ("2", {"text": "a cat"})
    assert index.get(["1"]).metadata == ({"text": "a dog"},)
    assert [hit.key for hit in index.search("text", ["a cat"], where="text like '%dog%'")[0]] == ["1"]


def test_text_is_kept_with_other_metadata(index):
    index.add("text", ["a dog"], keys=["1"], metadata=[{"year": 1}])
    index.add("text", ["a dog"], keys=["1"], keep_text=True)
    assert index.get(["1"]).metadata == ({"year": 1, "text": "a dog"},)
    done = index.add("text", ["a dog"], keys=["1"], keep_text=True)
    assert (done.added, done.unchanged) == (0, 1)
    index.add("text", ["a hound"], keys=["1"], keep_text=True)
    assert index.get(["1"]).metadata == ({"year": 1, "text": "a hound"},)


def test_texts_are_kept_of_texts_only_and_under_a_name_of_their_own(index):
    with pytest.raises(ValueError, match="keep_text=True keeps texts"):
        index.add("image", ["a.jpg"], keep_text=True)
    with pytest.raises(ValueError, match="has the name 'text'"):
        index.add("text", ["a"], metadata=[{"text": "b"}], keep_text=True)
    assert len(index) == 0


# Metadata of any depth

NESTED = {
    "tags": ["red", "it's", "\ud800", None],
    "place": {"city": "Línz", "at": [48.3, 14.3], "more": {"deep": True}},
    "empty": [],
    "words": "\ufdd1 looks like JSON",
}


def test_mappings_and_lists_come_back_as_they_were(index):
    index.add("text", ["a", "b"], metadata=[NESTED, {"tags": "red", "year": 1}])
    assert index.get(["a", "b"]).metadata == (NESTED, {"tags": "red", "year": 1})
    (hits,) = index.search("text", ["a"], k=1)
    assert hits[0].metadata == NESTED
    assert index.add("text", ["a"], metadata=[NESTED]).unchanged == 1
    with Index.open(index.path, space=index.space) as again:
        assert again.get(["a"]).metadata == (NESTED,)


def test_condition_sees_the_json_of_nested_metadata(index):
    index.add("text", ["a", "b"], metadata=[{"tags": ["red", "big"]}, {"tags": ["blue"]}])
    assert index.rows("contains(tags, '\"red\"')").embeddings.keys == ("a",)


def test_arrays_and_tuples_are_kept_as_lists(index):
    index.add("text", ["a"], metadata=[{"box": (1, 2), "rows": np.arange(3)}])
    assert index.get(["a"]).metadata == ({"box": [1, 2], "rows": [0, 1, 2]},)
    json.dumps(index.get(["a"]).metadata)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ({1: 2}, TypeError, "make names str"),
        ([object()], TypeError, "of type object"),
        ([float("nan")], ValueError, "NaN"),
        ([2**70], ValueError, "64 bits"),
        ([b"a"], TypeError, "of type bytes"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_name(index, value, error, words):
    with pytest.raises(error, match=rf"tags of row 0 .*{words}|{words}"):
        index.add("text", ["a"], metadata=[{"tags": value}])
    assert len(index) == 0


def test_nesting_has_a_limit(index):
    value = []
    for _ in range(100):
        value = [value]
    with pytest.raises(ValueError, match="more than 32 mappings and lists"):
        index.add("text", ["a"], metadata=[{"tags": value}])
    itself = {}
    itself["self"] = itself
    with pytest.raises(ValueError, match="more than 32 mappings and lists"):
        index.add("text", ["a"], metadata=[{"tags": itself}])
