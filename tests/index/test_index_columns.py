"""Columns of tables are items, keys and metadata of an index; tables aren't."""

from __future__ import annotations

import numpy as np
import pandas
import pyarrow
import pytest

from mmencode.errors import InputError

TEXTS = ["a dog", "a cat", "a car"]


@pytest.mark.parametrize(
    "column",
    [pandas.Series(TEXTS, index=[9, 9, 1]), pyarrow.array(TEXTS)],
    ids=["a Series", "an Arrow array"],
)
def test_column_is_added_and_searched(index, column):
    assert index.add("text", column).added == 3
    assert sorted(index.rows().embeddings.keys) == sorted(TEXTS)
    hits = index.search("text", column, k=1)
    assert [hit.key for (hit,) in hits] == TEXTS


def test_columns_are_keys_and_metadata(index):
    keys = pyarrow.array(["x", "y", "z"])
    said = pandas.Series([{"year": year} for year in (1, 2, 3)], index=[3, 2, 1])
    index.add("text", TEXTS, keys=keys, metadata=said)
    hits = index.search("text", TEXTS, k=1)
    assert [(hit.key, hit.metadata["year"]) for (hit,) in hits] == [("x", 1), ("y", 2), ("z", 3)]


def test_tables_are_refused_before_anything_is_written(index):
    frame = pandas.DataFrame({"path": TEXTS, "year": [1, 2, 3]})
    with pytest.raises(
        TypeError, match=r"batch is one DataFrame with the columns 'path', 'year'.*batch\['path'\]"
    ):
        index.add("text", frame)
    with pytest.raises(
        TypeError, match="keys is one DataFrame with the columns 'path', 'year': give a list or one column"
    ):
        index.add("text", TEXTS, keys=frame)
    with pytest.raises(TypeError, match=r"metadata is one DataFrame .*to_dict\('records'\)"):
        index.add("text", TEXTS, metadata=frame)
    with pytest.raises(TypeError, match="batch is one DataFrame"):
        index.search("text", frame)
    assert len(index) == 0
    assert index.add("text", TEXTS, metadata=frame.to_dict("records")).added == 3


def test_missing_value_is_named(index):
    column = pandas.Series(["a dog", None, "a car"], index=[4, 5, 6])
    with pytest.raises(InputError, match=r"it is missing(.|\n)*dropna") as caught:
        index.add("text", column)
    assert caught.value.index == 1
    found = index.add("text", column, keys=["x", "y", "z"], on_error="skip")
    assert (found.added, [failure.key for failure in found.failed]) == (2, ["y"])
    assert index.add("text", column.dropna()).added == 2


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"x", "y", "z"}, "one set, which has no order: give a list"),
        ({"x": 1, "y": 2, "z": 3}, "one dict with the columns 'x', 'y', 'z'"),
        (np.array("x"), "one ndarray of no dimensions"),
        ("xyz", "one str"),
    ],
    ids=["a set", "a dict", "no dimensions", "a str"],
)
def test_keys_without_an_order_never_meet_items(index, keys, said):
    with pytest.raises(TypeError, match=f"keys is {said}"):
        index.add("text", TEXTS, keys=keys)
    assert len(index) == 0


def test_keys_to_delete_may_be_a_column_or_a_set_and_no_table(index):
    index.add("text", [*TEXTS, "key"])
    for table in (pandas.DataFrame({"key": TEXTS}), pyarrow.table({"key": TEXTS}), {"key": TEXTS}):
        with pytest.raises(TypeError, match=r"keys is one .* with the columns 'key'"):
            index.delete(keys=table)
    with pytest.raises(TypeError, match="keys is one str"):
        index.delete(keys="key")
    assert index.delete(keys=pandas.Series(TEXTS[:1], index=[7])) == 1
    assert index.delete(keys=pyarrow.array(TEXTS[1:2])) == 1
    assert index.delete(keys={TEXTS[2]}) == 1
    assert index.rows().embeddings.keys == ("key",)
