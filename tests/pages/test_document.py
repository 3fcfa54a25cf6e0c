from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsing import Parsed

from mmencode.pages.document import data_block, document, escape_html

ANY = st.text(st.characters(codec=None, exclude_categories=()))


@settings(deadline=None)
@given(ANY)
def test_any_words_are_only_words(words):
    page = Parsed(f'<p title="{escape_html(words)}">{escape_html(words)}</p>')
    assert page.skeleton == [("p", ("title",))]
    assert page.elements[0][1]["title"] == page.words


@settings(deadline=None)
@given(ANY)
def test_any_words_can_be_written_as_utf_8(words):
    assert "\0" not in escape_html(words).encode("utf-8").decode()


def test_ordinary_words_of_any_language_stay_as_they_are():
    words = "Füße, 東京\u3000駅\n\tשלום 👍🏽"
    assert escape_html(words) == words


def test_file_name_that_is_not_utf_8_is_spelt_out():
    assert escape_html("caf\udce9.png") == "caf\\udce9.png"


@settings(deadline=None)
@given(st.dictionaries(ANY, ANY))
def test_data_is_read_back_as_it_was_and_ends_no_script(content):
    block = data_block("data", content)
    found = re.fullmatch(r'<script type="application/json" id="data">([^<]*)</script>', block, re.DOTALL)
    assert found
    assert json.loads(found[1]) == content


def test_data_that_json_has_no_word_for_is_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        data_block("data", float("nan"))


def test_policy_allows_the_pages_own_script_and_no_other():
    page = document("a page", "<p>words</p>", script="let a = 1;")
    digest = base64.b64encode(hashlib.sha256(b"let a = 1;").digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "<script>let a = 1;</script>" in page
    assert "script" not in document("a page", "<p>words</p>")
    assert all("default-src 'none'" in content for content in (page, document("a", "b")))
