"""Metadata that can't be held is refused before anything is written, and the index goes on as it was."""

from __future__ import annotations

import datetime
import decimal
import enum

import numpy as np
import pytest

from mmencode.index.columns import MOST_COLUMNS, RESERVED

NAMES = [
    *sorted(RESERVED),
    *("Reason", "KEY", "Null", "TRUE", "_hash", "_rowid", "_distance", "_score", "_", "", " ", "a b", "a.b"),
    *("1st", "größe", "ⓡeason", "a-b", "a;b", "a'b", 'a"b', "a`b", "x" * 101, "a\0", "a\n"),
]
VALUES = [
    *(decimal.Decimal(1), datetime.date(2020, 1, 1), b"bytes", [1j], {"a": b"b"}, {1}, object(), 1j),
    *(np.datetime64("2020-01-01"), ..., int, len),
]


class Colour(str, enum.Enum):  # noqa: UP042 (people have these, too)
    RED = "red"


class Number(enum.IntEnum):
    TWO = 2


class Shouted(str):
    __slots__ = ()

    def __str__(self):
        return self.upper()


def untouched(index, vectors):
    assert index.rows().embeddings.keys == ("before",)
    assert index.rows().metadata == ({"n": 1},)
    index.add_embeddings(vectors("after"), metadata=[{"n": 2, "word": "two"}])
    assert index.rows().metadata == ({"n": 2, "word": "two"}, {"n": 1})
    index.add("text", [" "], keys=["blank"], on_error="skip")
    assert [failure.key for failure in index.failures()] == ["blank"]
    assert index.add("text", ["a text"], keys=["blank"]).added == 1
    assert index.failures() == ()


@pytest.fixture
def filled(index, vectors):
    index.add_embeddings(vectors("before"), metadata=[{"n": 1}])
    return index


def test_a_name_that_means_something_else_is_refused_before_it_is_a_column(filled, vectors):
    for name in (*NAMES, 1, None, b"n", ("n",)):
        for value in ("text", 1):
            with pytest.raises(ValueError, match="has the name"):
                filled.add_embeddings(vectors("a", "b"), metadata=[{}, {name: value}])
            with pytest.raises(ValueError, match="has the name"):
                filled.add("text", ["one", "two"], metadata=[{"n": 1}, {name: value}])
    untouched(filled, vectors)


def test_a_value_of_an_odd_type_is_refused(filled, vectors):
    for value in VALUES:
        with pytest.raises(TypeError, match="odd of row 1 is of type"):
            filled.add_embeddings(vectors("a", "b"), metadata=[{}, {"odd": value}])
        with pytest.raises(TypeError, match="odd of row 0 is of type"):
            filled.add("text", ["one"], metadata=[{"odd": value}])
    untouched(filled, vectors)


def test_a_number_that_no_column_or_condition_can_have_is_refused(filled, vectors):
    for value in (2**63, -(2**63) - 1, 10**400, np.uint64(2**63)):
        with pytest.raises(ValueError, match="64 bits can't hold"):
            filled.add_embeddings(vectors("a"), metadata=[{"m": value}])
    for value in (float("nan"), np.float32("nan")):
        with pytest.raises(ValueError, match="m of row 0 is NaN, which no condition can find"):
            filled.add_embeddings(vectors("a"), metadata=[{"m": value}])
        with pytest.raises(ValueError, match="m of row 1 is NaN"):
            filled.add("text", ["one", "two"], metadata=[{}, {"m": value}])
    untouched(filled, vectors)


def test_an_int_that_a_column_of_float_would_round_is_refused(filled, vectors):
    filled.add_embeddings(vectors("before"), metadata=[{"n": 1}])
    with pytest.raises(ValueError, match=f"x of row 1 is {2**53 + 1}, which a column of float"):
        filled.add_embeddings(vectors("a", "b"), metadata=[{"x": 0.5}, {"x": 2**53 + 1}])
    assert "x" not in filled._store.rows.schema.names
    untouched(filled, vectors)


def test_one_mapping_that_is_used_again_says_of_each_row_what_it_said_then(index):
    said = {}

    def mappings():
        for number in range(3):
            said["n"] = number
            yield said

    index.add("text", ["a", "b", "c"], metadata=mappings())
    assert [row["n"] for row in index.rows().metadata] == [0, 1, 2]
    index.add("text", ["a", "b", "c"], metadata=({"n": 9 - number} for number in range(3)))
    assert [row["n"] for row in index.rows().metadata] == [9, 8, 7]


@pytest.mark.parametrize("row", ["n", ["n"], 3, [("n", 1)]])
def test_metadata_that_is_no_mapping_is_refused(filled, vectors, row):
    with pytest.raises(TypeError, match="metadata of row 0 is"):
        filled.add_embeddings(vectors("a"), metadata=[row])
    with pytest.raises(TypeError, match="metadata of row 0 is"):
        filled.add("text", ["one"], metadata=[row])
    untouched(filled, vectors)


@pytest.mark.parametrize("value", ["1", True, 1.5])
def test_a_value_of_another_type_than_its_column_leaves_no_other_column_behind(filled, vectors, value):
    with pytest.raises(TypeError, match="the column n holds int"):
        filled.add_embeddings(vectors("a"), metadata=[{"fresh": "column", "n": value}])
    assert "fresh" not in filled._store.rows.schema.names
    untouched(filled, vectors)


def test_names_that_differ_in_case_only_are_refused(filled, vectors):
    with pytest.raises(ValueError, match="differ in case only"):
        filled.add_embeddings(vectors("a"), metadata=[{"N": 1}])
    untouched(filled, vectors)


def test_more_names_than_an_index_holds_are_refused(filled, vectors):
    with pytest.raises(ValueError, match=f"an index holds {MOST_COLUMNS}"):
        filled.add_embeddings(vectors("a"), metadata=[{f"m{number}": 1 for number in range(MOST_COLUMNS)}])
    untouched(filled, vectors)


@pytest.mark.parametrize(
    ("value", "held"),
    [
        (Colour.RED, "red"),
        (Number.TWO, 2),
        (Shouted("low"), "low"),
        (np.str_("word"), "word"),
        (np.int8(3), 3),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (True, True),
        (float("inf"), float("inf")),
        (-(2**63), -(2**63)),
        ("", ""),
        ("a\0b", "a\0b"),
        ("\udcff \ufdd0 \U0001f600", "\udcff \ufdd0 \U0001f600"),
    ],
    ids=ascii,
)
def test_values_derived_from_the_four_types_are_held_as_these(index, vectors, value, held):
    index.add_embeddings(vectors("a"), metadata=[{"value": value}])
    (found,) = index.rows().metadata
    assert (found["value"], type(found["value"])) == (held, type(held))


def test_a_name_may_be_an_ordinary_word_of_sql_and_be_asked_for(index, vectors):
    said = [{"order": number, "user": "bob", "date": "2020", "rows": number % 2 == 0} for number in range(4)]
    index.add_embeddings(vectors("a", "b", "c", "d"), metadata=said)
    assert index.rows("order >= 2 AND user = 'bob' AND date = '2020' AND rows").embeddings.keys == ("c",)
