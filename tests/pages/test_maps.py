from __future__ import annotations

import json
import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from parsing import Parsed

from mmencode import Embeddings
from mmencode.pages import map_page, survey
from mmencode.pages.maps import LISTED, SPAN

ANY = st.text(st.characters(codec=None, exclude_categories=()), min_size=1)


def data(page):
    return json.loads(re.search(r'<script type="application/json" id="data">([^<]*)</script>', page)[1])


@settings(max_examples=50, deadline=None)
@given(ANY, ANY, ANY)
def test_no_words_give_an_element_or_attribute_of_their_own(key, modality, note):
    def page(key, modality, note):
        vectors = np.tile(np.float32([1, 0]), (20, 1))
        vectors[3] = [0, 1]
        rows = Embeddings(vectors, space=key, modality=modality, keys=[key] * 20)
        return map_page(survey(rows), title=key, notes=[note])

    skeletons = [
        [part for part in Parsed(page(*words)).skeleton if part[0] != "wbr"]
        for words in ((key, modality, note), ("plain", "image", "note"))
    ]
    assert skeletons[0] == skeletons[1]
    assert len(data(page(key, modality, note))["keys"]) == 20


def test_page_holds_every_point_key_and_group(blobs):
    found = survey(blobs, by=["modality"])
    held = data(map_page(found, title="map", thumbnails={3: "data:image/jpeg;base64,AA=="}))
    assert held["keys"] == list(blobs.keys)
    assert held["thumbnails"] == {"3": "data:image/jpeg;base64,AA=="}
    assert held["groupings"][0] | {"members": []} == {
        "name": "modality",
        "groups": ["image"],
        "counts": [121],
        "members": [],
        "ordered": False,
        "rest": False,
    }
    places = np.array([held["x"], held["y"]]).T
    size = np.ptp(places, axis=0)
    assert size.max() == SPAN
    np.testing.assert_allclose(
        size / size.max(),
        np.ptp(found.layout.points, axis=0) / 1.0 / np.ptp(found.layout.points, axis=0).max(),
        atol=1e-4,
    )


def test_one_row_is_drawn_in_the_middle(blobs):
    held = data(map_page(survey(blobs[:1]), title="one"))
    assert (held["x"], held["y"]) == ([0], [0])


def test_outliers_are_listed_with_their_distance_farthest_first(blobs):
    found = survey(blobs)
    page = Parsed(map_page(found, title="map"))
    rows = [attributes["data-row"] for tag, attributes in page.elements if "data-row" in attributes]
    assert rows == [str(outlier.row) for outlier in found.outliers]
    assert rows[0] == "120"
    assert f"{found.outliers[0].distance:.3f}" in page.words
    assert "None. Rows whose" in Parsed(map_page(survey(blobs[:5]), title="few")).words


def test_long_list_of_outliers_is_cut_and_says_so():
    rng = np.random.default_rng(0)
    near = np.concatenate([np.ones((300, 1)), rng.normal(0, 0.01, (300, 400))], axis=1)
    vectors = np.concatenate([near, np.eye(401)[1 : LISTED + 12]]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = survey(Embeddings(vectors, space="fake@1", modality="image"))
    assert len(found.outliers) > LISTED
    page = map_page(found, title="map")
    assert page.count("data-row=") == LISTED
    assert f"The {LISTED} farthest of {len(found.outliers)}" in page


def test_page_asks_for_nothing(blobs):
    page = map_page(survey(blobs), title="map")
    assert not re.search(r"https?://|url\(|@import|<link|<iframe", page)
    assert page.count("<script") == 2
