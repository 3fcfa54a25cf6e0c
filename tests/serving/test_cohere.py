"""Cohere's own client gets the vectors that the library gives."""

from __future__ import annotations

import base64
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from sent_items import png, uri
from servers import run_server
from sided_spaces import make_sided_space

import mmencode
from mmencode.serving.numbers import to_numbers

cohere = pytest.importorskip("cohere", reason="needs Cohere's client: pip install cohere")

TEXTS = ["a cat on a sofa", "a rocket at night", "two cups of coffee"]
KINDS = ["float", "int8", "uint8", "binary", "ubinary", "base64"]


@contextmanager
def asking(served, kind=cohere.ClientV2):
    with httpx.Client(timeout=30, trust_env=False) as connection:
        yield kind(api_key="none", base_url=served.url, httpx_client=connection)


@pytest.fixture
def client(served):
    with asking(served) as found:
        yield found


def floats(response):
    return np.array(response.embeddings.float_, np.float32)


def test_texts_get_the_librarys_vectors_bit_for_bit(client, served):
    found = client.embed(
        model="offline", texts=TEXTS, input_type="search_document", embedding_types=["float"]
    )
    expected = served.space.encode("text", TEXTS)
    assert np.array_equal(floats(found), expected.vectors)
    assert found.model_extra["space"] == expected.space
    assert found.response_type == "embeddings_by_type"


def test_pictures_get_the_librarys_vectors_bit_for_bit(client, served):
    pictures = [png(), png(40)]
    found = client.embed(
        model="offline",
        images=[uri(each) for each in pictures],
        input_type="image",
        embedding_types=["float"],
    )
    assert np.array_equal(floats(found), served.space.encode("image", pictures).vectors)
    assert found.meta.billed_units.images == 2
    assert found.meta.billed_units.input_tokens == 0


def test_inputs_of_one_part_are_items_of_its_modality(client, served):
    inputs = [
        {"content": [{"type": "text", "text": TEXTS[0]}]},
        {"content": [{"type": "image_url", "image_url": {"url": uri(png())}}]},
    ]
    found = client.embed(model="offline", inputs=inputs, input_type="search_document")
    expected = served.space.encode_mixed([("text", TEXTS[0]), ("image", png())])
    assert np.array_equal(floats(found), expected.vectors)


def test_inputs_of_a_text_and_a_picture_are_one_item(fused_space):
    content = [{"type": "text", "text": TEXTS[0]}, {"type": "image_url", "image_url": {"url": uri(png())}}]
    with run_server(fused_space) as served, asking(served) as client:
        found = client.embed(model="fake", inputs=[{"content": content}], input_type="search_document")
    assert np.array_equal(floats(found), fused_space.encode("image+text", [(png(), TEXTS[0])]).vectors)
    assert found.meta.billed_units.images == 1
    assert found.meta.billed_units.input_tokens > 0


def test_all_types_of_numbers_come_together(client, served):
    found = client.embed(
        model="offline", texts=TEXTS, input_type="search_document", embedding_types=KINDS
    ).embeddings
    vectors = list(served.space.encode("text", TEXTS).vectors)
    for kind in KINDS[1:-1]:
        assert getattr(found, kind) == to_numbers(vectors, kind).tolist()
    packed = [np.frombuffer(base64.b64decode(row), "<f4") for row in found.base64]
    assert np.array_equal(packed, vectors)
    assert np.array_equal(np.array(found.float_, np.float32), vectors)


def test_the_type_of_input_chooses_the_side():
    with make_sided_space() as sided_space, run_server(sided_space) as served, asking(served) as client:
        found = {
            kind: floats(client.embed(model=sided_space.name, texts=TEXTS, input_type=kind))
            for kind in ("search_query", "search_document", "clustering")
        }
        queries = sided_space.encode("text", TEXTS, role="query").vectors
        documents = sided_space.encode("text", TEXTS, role="document").vectors
    assert not np.array_equal(queries, documents)
    assert np.array_equal(found["search_query"], queries)
    assert np.array_equal(found["search_document"], documents)
    assert np.array_equal(found["clustering"], documents)


def test_a_declared_width_cuts_vectors_into_a_space_of_its_own(small_space):
    with run_server(small_space) as served, asking(served) as client:
        found = client.embed(model="fake", texts=TEXTS, input_type="clustering", output_dimension=4)
        with pytest.raises(cohere.BadRequestError) as caught:
            client.embed(model="fake", texts=TEXTS, input_type="clustering", output_dimension=5)
    expected = small_space.encode("text", TEXTS).truncate(4)
    assert np.array_equal(floats(found), expected.vectors)
    assert found.model_extra["space"] == expected.space
    assert "4, 8" in caught.value.body["message"]


@pytest.mark.parametrize("truncate", ["NONE", "START"])
def test_another_way_to_cut_long_texts_is_refused(client, truncate):
    with pytest.raises(cohere.UnprocessableEntityError) as caught:
        client.embed(model="offline", texts=TEXTS, input_type="clustering", truncate=truncate)
    assert caught.value.body["error"]["code"] == "unsupported_truncation"


def test_a_bad_item_is_named_by_its_place_and_not_sent_back(client):
    bad = base64.b64encode(b"secret words").decode()
    with pytest.raises(cohere.UnprocessableEntityError) as caught:
        client.embed(model="offline", images=[uri(png()), f"data:image/png;base64,{bad}"], input_type="image")
    body = caught.value.body
    assert [item["index"] for item in body["error"]["items"]] == [1]
    assert "item 1 of 2" in body["message"]
    assert "secret" not in str(body)
    assert bad not in str(body)


def test_a_path_is_never_opened(client, tmp_path):
    path = tmp_path / "cat.png"
    path.write_bytes(png())
    for given in (str(path), f"file://{path}"):
        with pytest.raises(cohere.UnprocessableEntityError) as caught:
            client.embed(model="offline", images=[given], input_type="image")
        assert str(tmp_path) not in str(caught.value.body)


def test_a_request_has_items_in_one_field_alone(client):
    with pytest.raises(cohere.UnprocessableEntityError):
        client.embed(model="offline", input_type="clustering")
    with pytest.raises(cohere.UnprocessableEntityError):
        client.embed(model="offline", input_type="clustering", texts=TEXTS, images=[uri(png())])


def test_a_space_of_many_vectors_is_refused(multi_space):
    with (
        run_server(multi_space) as served,
        asking(served) as client,
        pytest.raises(cohere.BadRequestError) as caught,
    ):
        client.embed(model="fake-multi", texts=TEXTS, input_type="clustering")
    assert caught.value.body["error"]["code"] == "many_vectors"


def test_another_space_than_the_one_expected_is_a_conflict(http):
    body = {"texts": TEXTS, "space": "offline@0123456789abcdef"}
    answer = http.post("/v2/embed", json=body)
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "space_mismatch"


def test_the_older_client_gets_the_same_vectors(served):
    with asking(served, cohere.Client) as client:
        plain = client.embed(texts=TEXTS, model="offline", input_type="search_document")
        by_type = client.embed(
            texts=TEXTS, model="offline", input_type="search_document", embedding_types=["float"]
        )
    expected = served.space.encode("text", TEXTS).vectors
    assert np.array_equal(np.array(plain.embeddings, np.float32), expected)
    assert np.array_equal(np.array(by_type.embeddings.float_, np.float32), expected)


def test_the_client_ranks_documents_by_similarity(client, served):
    found = client.rerank(model="offline", query="a kitten", documents=TEXTS, top_n=2)
    scores = mmencode.similarity(
        served.space.encode("text", ["a kitten"], role="query"), served.space.encode("text", TEXTS)
    )[0]
    order = np.argsort(-scores, kind="stable")[:2]
    assert [row.index for row in found.results] == order.tolist()
    assert np.allclose([row.relevance_score for row in found.results], scores[order], rtol=0, atol=1e-5)
    assert found.model_extra["space"] == served.space.id


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/embed", {"texts": ["a"] * 70_000}),
        ("/v1/embeddings", {"input": ["a"] * 3000}),
        ("/rerank", {"query": "a", "documents": ["a"] * 3000}),
        ("/score", {"text_1": "a", "text_2": ["a"] * 3000}),
        ("/vectorize", {"texts": ["a"] * 3000}),
        ("/embed", {"inputs": ["a"] * 3000}),
    ],
)
def test_more_items_than_a_request_may_have_are_refused(http, path, body):
    answer = http.post(path, json=body)
    assert answer.status_code in (413, 422)
    assert len(answer.content) < 1000
