"""Lists are read in their order, and tables are never read as the names of their columns."""

from __future__ import annotations

from enum import Enum

import numpy as np
import pytest

from mmencode.arguments.columns import columns_of
from mmencode.arguments.lists import split_lines, to_list, to_strings

WORDS = ["zebra", "ant", "moth"]


def columns():
    """The words as a column of everything that has columns."""
    pandas, arrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    frame, table = pandas.DataFrame({"id": [1, 2, 3], "word": WORDS}), arrow.table({"word": WORDS})
    return [
        frame["word"],
        frame["word"].astype("category"),
        frame["word"].astype("string"),
        frame.set_index("word").index,
        pandas.Categorical(WORDS),
        np.array(WORDS),
        np.array(WORDS, object),
        table["word"],
        table["word"].chunk(0),
        table["word"].dictionary_encode(),
        dict.fromkeys(WORDS).keys(),
        tuple(WORDS),
    ]


def test_columns_and_arrays_are_read_in_their_order():
    for column in columns():
        found = to_strings(column, "labels")
        assert found == WORDS
        assert {type(word) for word in found} == {str}


def test_members_of_an_enumeration_of_words_are_their_words():
    kinds = Enum("Kind", {word: word for word in WORDS}, type=str)
    assert to_strings(list(kinds), "labels") == WORDS


def tables():
    pandas, arrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    content = {"id": [1, 2, 3], "word": WORDS}
    return [
        content,
        pandas.DataFrame(content),
        arrow.table(content),
        arrow.RecordBatch.from_pydict(content),
        np.array([(1, "ant")], [("id", int), ("word", "U9")]),
    ]


@pytest.mark.parametrize("read", [to_list, to_strings])
def test_tables_are_refused_with_the_way_to_name_a_column(read):
    for table in tables():
        with pytest.raises(TypeError, match=r"labels must be a list.*'id', 'word': .* table\['word'\]"):
            read(table, "labels")
        assert columns_of(table) == ["id", "word"]


@pytest.mark.parametrize("kind", [set, frozenset])
def test_what_has_no_order_is_refused(kind):
    with pytest.raises(TypeError, match=f"a {kind.__name__} has no order of its own"):
        to_strings(kind(WORDS), "labels")


@pytest.mark.parametrize(
    "kind", [iter, lambda words: (word for word in words), lambda words: map(str, words)]
)
def test_what_can_be_read_but_once_is_refused_unless_it_is_read_once(kind):
    with pytest.raises(TypeError, match="can be read but once: pass a list"):
        to_strings(kind(WORDS), "labels")
    assert to_list(kind(WORDS), "keys", once=True) == WORDS


@pytest.mark.parametrize("one", ["zebra", b"zebra", 3, None, np.array("zebra"), {}])
def test_a_single_thing_is_no_list(one):
    with pytest.raises(TypeError, match="labels must be a list of strings, not one"):
        to_strings(one, "labels")


@pytest.mark.parametrize("other", [None, float("nan"), 7, b"ant", ["ant"]])
def test_what_is_no_word_is_named_by_its_place(other):
    with pytest.raises(TypeError, match="number 1 is"):
        to_strings(["zebra", other], "labels")


NO_ENDS = "\u2028\u2029\x0c\x0b\x1c\x1d\x1e\x85\r"


def test_lines_end_at_line_feeds_with_or_without_a_carriage_return_only():
    inner = f"a{NO_ENDS}b"
    assert split_lines(f"{inner}\n{inner}\r\n\n\r\nlast") == [inner, inner, "", "", "last"]
    assert split_lines("first\n") == ["first"]
    assert split_lines("") == []
