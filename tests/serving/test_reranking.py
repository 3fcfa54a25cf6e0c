"""Reranking and scores by similarity, in the shapes of Jina, text-embeddings-inference and vLLM."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from sent_items import png, uri
from servers import run_server
from sided_spaces import make_sided_space

import mmencode

TEXTS = ["a cat on a sofa", "a rocket at night", "two cups of coffee"]
QUERY = "a kitten"


def expected_scores(space, queries=(QUERY,), documents=TEXTS):
    encode = space.encode_multi if space.spec("text").outputs == "many" else space.encode
    return mmencode.similarity(encode("text", queries, role="query"), encode("text", documents))


def scores_by_place(rows, name="relevance_score"):
    return np.array([row[name] for row in sorted(rows, key=lambda row: row["index"])])


def near(found, expected):
    return np.allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_results_are_ranked_by_the_librarys_similarity(http, served, path):
    found = http.post(path, json={"model": "offline", "query": QUERY, "documents": TEXTS}).json()
    scores = expected_scores(served.space)[0]
    assert near(scores_by_place(found["results"]), scores)
    assert [row["index"] for row in found["results"]] == np.argsort(-scores, kind="stable").tolist()
    assert found["space"] == served.space.id


def test_scores_of_one_batch_are_the_librarys_to_the_last_bit(http, served):
    (found,) = http.post("/rerank", json={"query": QUERY, "documents": [QUERY]}).json()["results"]
    assert found["relevance_score"] == expected_scores(served.space, documents=[QUERY])[0, 0]


def test_documents_may_be_objects_with_texts_or_pictures(http, served):
    documents = [{"text": TEXTS[0]}, {"image": uri(png())}, {"image": base64.b64encode(png(40)).decode()}]
    found = http.post("/v1/rerank", json={"query": {"text": QUERY}, "documents": documents}).json()
    items = [("text", TEXTS[0]), ("image", png()), ("image", png(40))]
    expected = mmencode.similarity(
        served.space.encode("text", [QUERY], role="query"), served.space.encode_mixed(items)
    )
    assert near(scores_by_place(found["results"]), expected[0])


def test_text_embeddings_inference_has_a_bare_list(http, served):
    answer = http.post("/rerank", json={"query": QUERY, "texts": TEXTS})
    assert near(scores_by_place(answer.json(), "score"), expected_scores(served.space)[0])
    assert answer.headers["X-Mmencode-Space"] == served.space.id


def test_a_space_of_many_vectors_scores_by_maxsim(multi_space):
    with run_server(multi_space) as served, served.client() as http:
        ranked = http.post("/rerank", json={"query": QUERY, "documents": TEXTS}).json()
        scored = http.post("/score", json={"text_1": QUERY, "text_2": TEXTS}).json()
    expected = expected_scores(multi_space)[0]
    assert near(scores_by_place(ranked["results"]), expected)
    assert near(scores_by_place(scored["data"], "score"), expected)


def test_queries_and_documents_have_their_sides():
    with make_sided_space() as space, run_server(space) as served, served.client() as http:
        ranked = http.post("/rerank", json={"query": QUERY, "documents": TEXTS}).json()
        scored = http.post("/score", json={"text_1": QUERY, "text_2": TEXTS}).json()
        expected = expected_scores(space)[0]
        alike = mmencode.similarity(space.encode("text", [QUERY]), space.encode("text", TEXTS))[0]
    assert near(scores_by_place(ranked["results"]), expected)
    assert near(scores_by_place(scored["data"], "score"), expected)
    assert not near(expected, alike)


@pytest.mark.parametrize("field", ["return_documents", "return_text"])
def test_nothing_is_sent_back(http, field):
    body = {"query": QUERY, "documents": TEXTS, field: True}
    assert http.post("/rerank", json=body).json()["error"]["param"] == field
    assert not any(text in http.post("/rerank", json=body | {field: False}).text for text in TEXTS)


def test_a_bad_document_is_named_by_its_place(http):
    answer = http.post("/rerank", json={"query": QUERY, "documents": [TEXTS[0], " "]})
    assert answer.status_code == 422
    assert answer.json()["error"]["items"][0]["index"] == 2
    answer = http.post("/rerank", json={"query": QUERY, "documents": [TEXTS[0], {"secret": "x"}]})
    assert answer.json()["error"]["param"] == "documents.1"
    assert "secret" not in answer.text


def test_one_query_is_scored_with_every_document(http, served):
    found = http.post("/v1/score", json={"model": "offline", "text_1": QUERY, "text_2": TEXTS}).json()
    assert near(scores_by_place(found["data"], "score"), expected_scores(served.space)[0])
    assert found["object"] == "list"
    assert found["space"] == served.space.id


def test_as_many_queries_as_documents_are_pairs(http, served):
    queries = ["a kitten", "a space ship", "breakfast"]
    found = http.post("/score", json={"queries": queries, "documents": TEXTS}).json()
    assert near(scores_by_place(found["data"], "score"), np.diag(expected_scores(served.space, queries)))


def test_other_numbers_make_no_pairs(http):
    answer = http.post("/score", json={"text_1": TEXTS[:2], "text_2": TEXTS})
    assert answer.status_code == 400


def test_pictures_come_as_parts(http, served):
    content = [{"type": "image_url", "image_url": {"url": uri(each)}} for each in (png(), png(40))]
    found = http.post("/score", json={"text_1": QUERY, "text_2": {"content": content}}).json()
    expected = mmencode.similarity(
        served.space.encode("text", [QUERY], role="query"), served.space.encode("image", [png(), png(40)])
    )
    assert near(scores_by_place(found["data"], "score"), expected[0])


def test_the_most_results_may_be_said(http):
    for name in ("top_n", "top_k"):
        found = http.post("/rerank", json={"query": QUERY, "documents": TEXTS, name: 2}).json()
        assert len(found["results"]) == 2
