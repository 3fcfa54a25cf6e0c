from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmencode.engine.runtime import Runtime
from mmencode.errors import InputError
from mmencode.inputs import Limits
from mmencode.inputs.text import read, require_tokens
from mmencode.plugins.spec import EncoderSpec
from mmencode.spaces.space import Space
from mmencode.testing import FakeText

INVISIBLE = {
    "zero-width space": "\u200b",
    "byte order mark": "\ufeff",
    "soft hyphen": "\xad",
    "tags": "\U000e0041\U000e007f",
    "NUL": "\0",
    "controls": "\x01\x1b\x7f\x9f",
    "no-break space": "\xa0",
    "ideographic space": "\u3000",
    "line separator": "\u2028\u2029",
    "joiners": "\u200c\u200d\u2060",
    "directions": "\u200e\u202a\u2066\u061c",
    "variation selectors": "\ufe0f\U000e0100",
    "grapheme joiner": "\u034f",
    "Hangul fillers": "\u3164\u115f\u1160\uffa0",
    "Khmer vowels that are none": "\u17b4\u17b5",
    "Mongolian selectors": "\u180b\u180e",
    "braille without dots": "\u2800",
    "several of them": " \u200b\t\xad\n\ufeff ",
}
VISIBLE = [
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",  # a family, joined
    "\u2764\ufe0f",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # England's flag
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "\u0915\u094d\u200d\u0937",
    "\u2801",
    "\u0601",  # an Arabic sign, though a format
    "\u0301",
    "\ue000",
    "\ufffd",
    "\u200ba",
    ".",
]


@given(st.text(min_size=1), st.sampled_from(VISIBLE))
def test_any_text_that_utf8_holds_is_itself(text, visible):
    assert read(text + visible, Limits()) == text + visible


@pytest.mark.parametrize("name", INVISIBLE)
def test_text_of_which_nothing_shows_is_blank(name):
    with pytest.raises(InputError, match="the text is blank") as caught:
        read(INVISIBLE[name], Limits())
    assert caught.value.fault == "content"


@pytest.mark.parametrize("text", VISIBLE)
def test_text_of_which_something_shows_is_itself(text):
    assert read(text, Limits()) == text


class Deaf(FakeText):
    """A fake whose tokenizer knows letters and digits alone."""

    def preprocess(self, item):
        require_tokens(sum(map(str.isalnum, item)), item)
        return super().preprocess(item)


def test_text_of_which_the_tokenizer_leaves_nothing_is_blank():
    spec = EncoderSpec(name="deaf", modality="text", target=f"{__name__}:Deaf", dim=8)
    space = Space("deaf", [spec], runtime=Runtime("cpu"))
    found = space.encode("text", ["a", "?!", "b"], on_error="skip")
    assert found.positions.tolist() == [0, 2]
    assert [str(error) for error in found.errors] == [
        "the text is blank: the tokenizer leaves nothing of it\n"
        "  where:  item 1, text '?!'\n"
        "  remedy: leave it out; it has no meaning to encode"
    ]
    assert found.errors[0].lasting
    np.testing.assert_array_equal(found.vectors, space.encode("text", ["a", "b"]).vectors)


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
