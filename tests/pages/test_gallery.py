from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsing import Parsed

from mmencode.pages import GalleryItem, Preview, gallery_page

ANY = st.text(st.characters(codec=None, exclude_categories=()), min_size=1)
VALUES = st.one_of(ANY, st.floats(), st.binary(), st.lists(ANY, max_size=2))


def item(key="a.png", score=0.5, metadata=None, **preview):
    return GalleryItem(
        key=key, modality="image", score=score, metadata=metadata or {}, preview=Preview(**preview)
    )


@settings(max_examples=50, deadline=None)
@given(ANY, ANY, VALUES, ANY)
def test_no_words_give_an_element_or_attribute_of_their_own(key, name, value, fault):
    def page(key, name, value, fault):
        items = [
            item(key, metadata={name: value}, fault=fault),
            item(key, picture="data:image/jpeg;base64,AA=="),
        ]
        content = gallery_page(items, title=key, about=fault, examples=items, notes=[fault], footer=key)
        return [part for part in Parsed(content).skeleton if part[0] != "wbr"]

    assert page(key, name, value, fault) == page("plain", "name", "value", "reason")


def test_items_stand_in_order_with_rank_score_and_metadata():
    content = gallery_page(
        [
            item("near.png", 0.91, {"year": 1999, "remark": None}, fault="gone"),
            item("far.png", -0.2, fault="gone"),
        ],
        title="a cat",
    )
    words = Parsed(content).words
    assert words.index("near.png") < words.index("far.png")
    assert "0.910" in words
    assert "-0.200" in words
    assert "1999" in words
    assert "remark" not in words
    assert 'style="width:91%"' in content
    assert 'style="width:0%"' in content


def test_each_kind_of_preview_has_its_own_element():
    page = Parsed(
        gallery_page(
            [
                item("a.png", picture="data:image/jpeg;base64,AA=="),
                item("b.wav", sound="data:audio/wav;base64,AA=="),
                item("some words", words="some words"),
                item("gone.png", fault="there is no such file"),
            ],
            title="all",
        )
    )
    sources = {tag: attributes["src"] for tag, attributes in page.elements if "src" in attributes}
    assert sources == {"img": "data:image/jpeg;base64,AA==", "audio": "data:audio/wav;base64,AA=="}
    assert "there is no such file" in page.words
    assert page.words.count("some words") == 1


@pytest.mark.parametrize("items", [[], [item(fault="gone")]])
def test_page_needs_no_script_and_asks_for_nothing(items):
    page = Parsed(gallery_page(items, title="none"))
    assert not {"script", "link", "iframe", "a", "form"} & {tag for tag, _ in page.elements}
    policy = next(a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
