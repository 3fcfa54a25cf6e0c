from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmencode.errors import InputError
from mmencode.inputs import Limits
from mmencode.inputs.text import read


@given(st.text().filter(lambda text: text.strip()))
def test_any_text_that_utf8_holds_is_itself(text):
    assert read(text, Limits()) == text


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("", "blank"),
        (" \n\t", "blank"),
        (b"bytes", "decode"),
        (None, "NoneType"),
        (7, "int"),
        (["a"], "list"),
        ("a\ud800b", "lone surrogate at position 1"),
        ("x" * 2**20, "1048576 characters"),
    ],
)
def test_bad_text_is_refused_with_the_reason(item, words):
    with pytest.raises(InputError, match=words):
        read(item, Limits())


def test_limit_can_be_raised():
    assert len(read("x" * 2**20, Limits(characters=2**20))) == 2**20


@pytest.mark.parametrize("name", ["bytes", "pixels", "seconds", "characters"])
def test_limits_are_positive(name):
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})
