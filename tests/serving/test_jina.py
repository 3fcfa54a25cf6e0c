"""Jina's shapes of /v1/embeddings, which its clients send as plain requests."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from sent_items import png, uri
from servers import run_server
from sided_spaces import make_sided_space

from mmencode.serving.numbers import to_numbers

TEXTS = ["a cat on a sofa", "a rocket at night"]


def ask(http, **body):
    return http.post("/v1/embeddings", json={"input": TEXTS, **body})


def rows(answer):
    assert answer.status_code == 200, answer.text
    return np.array([row["embedding"] for row in answer.json()["data"]], np.float32)


def coded(content):
    return base64.b64encode(content).decode()


@pytest.mark.parametrize("key", ["image", "bytes"])
def test_objects_with_texts_and_pictures_get_the_librarys_vectors(http, served, key):
    items = [{"text": TEXTS[0]}, {key: uri(png())}, {key: coded(png(40))}]
    answer = ask(http, input=items, task="retrieval.passage", normalized=True, late_chunking=False)
    expected = served.space.encode_mixed([("text", TEXTS[0]), ("image", png()), ("image", png(40))])
    assert np.array_equal(rows(answer), expected.vectors)
    assert answer.json()["space"] == served.space.id


@pytest.mark.parametrize(
    ("task", "role"),
    [
        ("retrieval.query", "query"),
        ("retrieval.passage", "document"),
        ("text-matching", ""),
        ("code.query", "query"),
    ],
)
def test_the_task_chooses_the_side(task, role):
    with make_sided_space() as space, run_server(space) as served, served.client() as http:
        assert np.array_equal(rows(ask(http, task=task)), space.encode("text", TEXTS, role=role).vectors)


@pytest.mark.parametrize("kind", ["float", "int8", "uint8", "binary", "ubinary"])
def test_the_type_chooses_the_numbers(http, served, kind):
    expected = to_numbers(list(served.space.encode("text", TEXTS).vectors), kind)
    for given in (kind, [kind]):
        assert np.array_equal(rows(ask(http, embedding_type=given)), expected)


def test_base64_holds_floats(http, served):
    packed = ask(http, embedding_type="base64").json()["data"]
    found = [np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in packed]
    assert np.array_equal(found, served.space.encode("text", TEXTS).vectors)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("late_chunking", True),
        ("task", "translation"),
        ("embedding_type", ["float", "binary"]),
        ("return_multivector", True),
    ],
)
def test_what_isnt_done_is_refused_by_the_name_of_its_field(http, field, value):
    answer = ask(http, **{field: value})
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["param"] == field


def test_fields_that_contradict_each_other_are_refused(http):
    assert ask(http, task="retrieval.query", role="document").json()["error"]["code"] == "contradiction"
    assert ask(http, dimensions=384, output_dimension=128).json()["error"]["code"] == "contradiction"


def test_many_vectors_come_on_request(multi_space):
    with run_server(multi_space) as served, served.client() as http:
        found = ask(http, return_multivector=True).json()["data"]
        refused = ask(http, return_multivector=False)
        codes = ask(http, embedding_type="binary")
    for row, expected in zip(found, multi_space.encode_multi("text", TEXTS).arrays, strict=True):
        assert np.array_equal(np.array(row["embedding"], np.float32), expected)
    assert refused.status_code == codes.status_code == 400
