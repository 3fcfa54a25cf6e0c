"""Weaviate's multi2vec modules, by the shapes that their sources send and read."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from sent_items import png, wav
from servers import run_server

TEXTS = ["a cat on a sofa", "a rocket at night"]


def coded(content):
    return base64.b64encode(content).decode()


def vectors(answer, name):
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()[name], np.float32)


def test_multi2vec_clip_sends_both_lists_and_gets_the_librarys_vectors(http, served):
    answer = http.post("/vectorize", json={"texts": TEXTS, "images": [coded(png()), coded(png(40))]})
    assert np.array_equal(vectors(answer, "textVectors"), served.space.encode("text", TEXTS).vectors)
    assert np.array_equal(
        vectors(answer, "imageVectors"), served.space.encode("image", [png(), png(40)]).vectors
    )
    assert answer.json()["space"] == served.space.id


def test_a_list_that_is_null_is_empty(http, served):
    answer = http.post("/vectorize", json={"texts": None, "images": [coded(png())]})
    assert answer.json()["textVectors"] == []
    assert np.array_equal(vectors(answer, "imageVectors"), served.space.encode("image", [png()]).vectors)


def test_multi2vec_bind_sends_sounds_too(http, served):
    answer = http.post("/vectorize", json={"audio": [coded(wav())], "texts": TEXTS[:1]})
    assert np.array_equal(vectors(answer, "audioVectors"), served.space.encode("audio", [wav()]).vectors)
    assert np.array_equal(vectors(answer, "textVectors"), served.space.encode("text", TEXTS[:1]).vectors)


def test_a_modality_that_the_space_hasnt_is_an_error_in_words(http):
    answer = http.post("/vectorize", json={"thermal": [coded(png())]})
    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)


def test_a_bad_item_is_named_by_its_place_and_not_sent_back(http):
    answer = http.post("/vectorize", json={"texts": TEXTS, "images": [coded(b"secret words")]})
    assert answer.status_code == 422
    assert answer.json()["items"][0]["index"] == 2
    assert "secret" not in answer.text


@pytest.mark.parametrize("body", [{}, {"texts": [], "images": None}])
def test_a_request_without_items_is_refused(http, body):
    assert http.post("/vectorize", json=body).status_code == 422


def test_meta_describes_the_space(http, served):
    found = http.get("/meta").json()
    assert found["space"] == served.space.id
    assert found["dimensions"] == served.space.dim
    assert set(found["modalities"]) == set(served.space.modalities)


def test_the_probes_answer_as_the_modules_ask(http):
    assert http.get("/.well-known/live").status_code == 204
    assert http.get("/.well-known/ready").status_code == 204


def test_a_space_of_many_vectors_is_refused(multi_space):
    with run_server(multi_space) as served, served.client() as http:
        answer = http.post("/vectorize", json={"texts": TEXTS})
    assert answer.status_code == 400
    assert answer.json()["code"] == "many_vectors"
