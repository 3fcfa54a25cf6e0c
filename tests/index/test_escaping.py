from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmencode.embeddings.surrogates import escape_surrogates, unescape_surrogates
from mmencode.index.sql import quote

ANY = st.text(st.characters(codec=None, exclude_categories=()))


@given(ANY)
def test_any_string_survives_and_utf_8_holds_what_is_stored(text):
    stored = escape_surrogates(text)
    assert unescape_surrogates(stored.encode().decode()) == text


@given(ANY, ANY)
def test_two_strings_are_never_stored_as_one(one, other):
    assert (escape_surrogates(one) == escape_surrogates(other)) == (one == other)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\ufdd0")))
def test_ordinary_text_stays_as_it_is(text):
    assert escape_surrogates(text) == text


@given(st.binary(max_size=50))
def test_file_name_of_any_bytes_survives(name):
    assert os.fsencode(unescape_surrogates(escape_surrogates(os.fsdecode(name)))) == name


@pytest.mark.parametrize("key", ["it's", "''", "' OR true --", "a\\'b", 'q"q', "`x`"])
def test_quotes_end_no_literal(key):
    inner = quote(key)[1:-1]
    assert inner.replace("''", "").count("'") == 0
    assert inner.replace("''", "'") == key
