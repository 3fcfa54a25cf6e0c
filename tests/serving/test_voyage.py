"""Voyage's own client gets the vectors that the library gives, and counts of tokens and pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from sent_items import png, uri
from servers import run_server
from sided_spaces import make_sided_space

import mmencode
from mmencode.serving.numbers import to_numbers

voyageai = pytest.importorskip("voyageai", reason="needs Voyage's client: pip install voyageai")
requestor = pytest.importorskip("voyageai.api_resources.api_requestor")

TEXTS = ["a cat on a sofa", "a rocket at night", "two cups of coffee"]


@pytest.fixture(autouse=True)
def end_sessions():
    """The client keeps a connection in each thread; it is closed after each test."""
    yield
    session = requestor._thread_context.__dict__.pop("session", None)
    if session is not None:
        session.close()


def asking(served):
    return voyageai.Client(api_key="none", base_url=f"{served.url}/v1", max_retries=1)


def test_pictures_and_texts_get_the_librarys_vectors_bit_for_bit(served):
    picture = Image.open(io.BytesIO(png()))
    found = asking(served).multimodal_embed([[TEXTS[0]], [picture], [TEXTS[1]]], model="offline")
    expected = served.space.encode_mixed([("text", TEXTS[0]), ("image", png()), ("text", TEXTS[1])])
    assert np.array_equal(np.array(found.embeddings, np.float32), expected.vectors)


def test_usage_counts_the_tokens_of_texts_and_the_pixels_of_pictures(served):
    pictures = [Image.open(io.BytesIO(png(size=size))) for size in ((40, 30), (100, 50))]
    found = asking(served).multimodal_embed([[TEXTS[0]], [pictures[0]], [pictures[1]]], model="offline")
    encoder = served.space.tower("text").encoder
    assert found.text_tokens == encoder.cost(encoder.preprocess(TEXTS[0]))
    assert found.image_pixels == 40 * 30 + 100 * 50
    assert found.total_tokens == found.text_tokens + found.image_pixels // 560


def test_a_text_and_a_picture_are_one_item_and_both_are_counted(fused_space):
    picture = Image.open(io.BytesIO(png()))
    with run_server(fused_space) as served:
        found = asking(served).multimodal_embed([[TEXTS[0], picture]], model="fake")
    assert np.array_equal(
        np.array(found.embeddings, np.float32), fused_space.encode("image+text", [(png(), TEXTS[0])]).vectors
    )
    encoder = fused_space.tower("text").encoder
    assert found.text_tokens == encoder.cost(encoder.preprocess(TEXTS[0]))
    assert found.image_pixels == 40 * 30


@pytest.mark.parametrize("kind", ["float", "int8", "uint8", "binary", "ubinary"])
def test_each_type_of_numbers_is_what_the_client_decodes(served, kind):
    client, vectors = asking(served), list(served.space.encode("text", TEXTS).vectors)
    several = client.multimodal_embed([[text] for text in TEXTS], model="offline", output_dtype=kind)
    texts = client.embed(TEXTS, model="offline", output_dtype=kind)
    expected = to_numbers(vectors, kind)
    assert np.array_equal(np.array(several.embeddings, expected.dtype), expected)
    assert np.array_equal(np.array(texts.embeddings, expected.dtype), expected)


def test_the_type_of_input_chooses_the_side():
    with make_sided_space() as space, run_server(space) as served:
        client = asking(served)
        for role in ("query", "document"):
            expected = space.encode("text", TEXTS, role=role).vectors
            several = client.multimodal_embed([[text] for text in TEXTS], model="sided", input_type=role)
            texts = client.embed(TEXTS, model="sided", input_type=role)
            assert np.array_equal(np.array(several.embeddings, np.float32), expected)
            assert np.array_equal(np.array(texts.embeddings, np.float32), expected)


def test_a_declared_width_cuts_vectors(small_space):
    expected = small_space.encode("text", TEXTS).truncate(4).vectors
    with run_server(small_space) as served:
        client = asking(served)
        several = client.multimodal_embed([[text] for text in TEXTS], model="fake", output_dimension=4)
        texts = client.embed(TEXTS, model="fake", output_dimension=4)
    assert np.array_equal(np.array(several.embeddings, np.float32), expected)
    assert np.array_equal(np.array(texts.embeddings, np.float32), expected)


def test_texts_that_are_too_long_may_not_be_an_error(served):
    for ask in ("embed", "multimodal_embed"):
        items = TEXTS if ask == "embed" else [[text] for text in TEXTS]
        with pytest.raises(voyageai.error.VoyageError, match="truncation"):
            getattr(asking(served), ask)(items, model="offline", truncation=False)


def test_a_bad_item_is_named_by_its_place_and_not_sent_back(http):
    content = [[{"type": "image_base64", "image_base64": uri(each)}] for each in (png(), b"secret words")]
    answer = http.post("/v1/multimodalembeddings", json={"inputs": [{"content": each} for each in content]})
    body = answer.json()
    assert answer.status_code == 422
    assert "item 1 of 2" in body["detail"]
    assert [item["index"] for item in body["error"]["items"]] == [1]
    assert "secret" not in answer.text


def test_the_space_is_in_the_body_and_in_the_header(http, served):
    answer = http.post(
        "/v1/multimodalembeddings", json={"inputs": [{"content": [{"type": "text", "text": "a cat"}]}]}
    )
    assert answer.json()["space"] == served.space.id == answer.headers["X-Mmencode-Space"]


@pytest.mark.parametrize(
    "part",
    [{"type": "text"}, {"type": "text", "text": "a", "image_url": "b"}, {"type": "image_url", "text": "a"}],
)
def test_a_part_has_the_one_value_that_its_type_names(http, part):
    answer = http.post("/v1/multimodalembeddings", json={"inputs": [{"content": [part]}]})
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == "inputs.0.content.0"


def test_the_client_ranks_documents_by_similarity(served):
    found = asking(served).rerank("a kitten", TEXTS, model="offline", top_k=2)
    scores = mmencode.similarity(
        served.space.encode("text", ["a kitten"]), served.space.encode("text", TEXTS)
    )[0]
    order = np.argsort(-scores, kind="stable")[:2]
    assert [row.index for row in found.results] == order.tolist()
    assert [row.document for row in found.results] == [TEXTS[place] for place in order]
    assert np.allclose([row.relevance_score for row in found.results], scores[order], rtol=0, atol=1e-5)
