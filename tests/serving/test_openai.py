"""OpenAI's own client, and the shapes that other servers add, get the vectors that the library gives."""

from __future__ import annotations

import base64
import json

import numpy as np
import openai
import pytest
from sent_items import png, uri, wav
from servers import run_server

TEXTS = ["a cat on a sofa", "a rocket at night", "two cups of coffee"]
NEAR = 1e-5  # vectors of batches with other neighbours


@pytest.fixture(scope="module")
def client(served):
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def vectors_of(response):
    return np.array([row.embedding for row in response.data], np.float32)


def rows(answer):
    assert answer.status_code == 200, answer.text
    return np.array([row["embedding"] for row in answer.json()["data"]], np.float32)


def post(http, **body):
    return http.post("/v1/embeddings", json=body)


def test_the_client_gets_the_librarys_vectors_bit_for_bit(client, served):
    found = client.embeddings.create(model="offline", input=TEXTS)
    expected = served.space.encode("text", TEXTS)
    assert np.array_equal(vectors_of(found), expected.vectors)
    assert found.model_extra["space"] == expected.space
    assert [row.index for row in found.data] == [0, 1, 2]


def test_floats_and_base64_are_the_same_numbers(client):
    floats = client.embeddings.create(model="offline", input=TEXTS, encoding_format="float")
    packed = client.embeddings.create(model="offline", input=TEXTS, encoding_format="base64")
    decoded = [np.frombuffer(base64.b64decode(row.embedding), "<f4") for row in packed.data]
    assert np.array_equal(vectors_of(floats), np.array(decoded))


def test_one_string_is_one_item(client, served):
    found = client.embeddings.create(model="offline", input=TEXTS[0])
    assert np.array_equal(vectors_of(found), served.space.encode("text", TEXTS[:1]).vectors)


def test_many_texts_are_within_rounding_of_the_librarys(client, served):
    texts = [f"{text}, number {place}" * (1 + place % 7) for place in range(100) for text in TEXTS]
    found = client.embeddings.create(model="offline", input=texts)
    assert np.abs(vectors_of(found) - served.space.encode("text", texts).vectors).max() < NEAR


def test_usage_counts_tokens(client):
    short = client.embeddings.create(model="offline", input="cat")
    long = client.embeddings.create(model="offline", input="cat " * 50)
    assert 0 < short.usage.prompt_tokens == short.usage.total_tokens <= long.usage.prompt_tokens


def test_models_are_listed_with_the_ids_of_their_spaces(client, served):
    (model,) = client.models.list().data
    assert model.id == served.space.name
    assert model.model_extra["space"] == served.space.id
    assert client.models.retrieve(served.space.name).model_extra["dimensions"] == served.space.dim


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model="secret-model", input="cat")
    assert caught.value.code == "model_not_found"
    assert "secret" not in str(caught.value)


def test_a_model_may_be_named_by_its_id(client, served):
    assert client.embeddings.create(model=served.space.id, input="cat").data


def test_the_model_may_be_left_out(http, served):
    assert np.array_equal(rows(post(http, input=TEXTS)), served.space.encode("text", TEXTS).vectors)


@pytest.mark.parametrize("where", ["header", "body", "model"])
def test_vectors_of_another_space_than_is_expected_are_refused(client, served, where):
    other = served.space.id[:-4] + "0000"
    options = {
        "header": {"extra_headers": {"X-Mmencode-Space": other}},
        "body": {"extra_body": {"space": other}},
        "model": {"model": other},
    }[where]
    with pytest.raises(openai.ConflictError) as caught:
        client.embeddings.create(**{"model": served.space.name, "input": "cat", **options})
    assert caught.value.code == "space_mismatch"
    assert served.space.id in str(caught.value)


def test_the_space_is_in_a_header_of_every_answer(http, served):
    for answer in (post(http, input="cat"), post(http, input=[]), http.get("/v1/models/offline")):
        assert answer.headers["x-mmencode-space"] == served.space.id


def test_a_picture_beside_its_modality_is_encoded(http, served):
    """infinity's shape."""
    answer = post(http, input=[uri(png())], modality="image")
    assert np.array_equal(rows(answer), served.space.encode("image", [png()]).vectors)


def test_a_sound_beside_its_modality_is_encoded(http, served):
    """infinity's shape."""
    answer = post(http, input=[uri(wav(), "audio/wav"), uri(wav(880), "audio/wav")], modality="audio")
    assert np.abs(rows(answer) - served.space.encode("audio", [wav(), wav(880)]).vectors).max() < NEAR


def test_a_message_with_a_picture_is_encoded(http, served):
    """vLLM's and SGLang's shape."""
    content = [{"type": "image_url", "image_url": {"url": uri(png())}}]
    answer = post(http, messages=[{"role": "user", "content": content}])
    assert np.array_equal(rows(answer), served.space.encode("image", [png()]).vectors)


def test_a_message_with_words_is_encoded(http, served):
    answer = post(http, messages=[{"role": "user", "content": TEXTS[0]}])
    assert np.array_equal(rows(answer), served.space.encode("text", TEXTS[:1]).vectors)


def test_a_message_with_a_sound_in_base64_is_encoded(http, served):
    """The shape of OpenAI's chats."""
    sound = {"data": base64.b64encode(wav()).decode(), "format": "wav"}
    content = [{"type": "input_audio", "input_audio": sound}]
    answer = post(http, messages=[{"role": "user", "content": content}])
    assert np.array_equal(rows(answer), served.space.encode("audio", [wav()]).vectors)


def test_a_message_with_a_sound_as_a_url_is_encoded(http, served):
    """vLLM's shape."""
    content = [{"type": "audio_url", "audio_url": {"url": uri(wav(), "audio/wav")}}]
    answer = post(http, messages=[{"role": "user", "content": content}])
    assert np.array_equal(rows(answer), served.space.encode("audio", [wav()]).vectors)


def test_typed_parts_are_one_item(http, served):
    """llama.cpp's shape."""
    answer = post(http, input=[{"type": "image_url", "image_url": {"url": uri(png())}}])
    assert np.array_equal(rows(answer), served.space.encode("image", [png()]).vectors)


def test_objects_are_items_of_several_modalities(http, served):
    """SGLang's and Jina's shape."""
    answer = post(http, input=[{"text": TEXTS[0]}, {"image": uri(png())}, {"text": TEXTS[1]}])
    found = rows(answer)
    assert np.abs(found[[0, 2]] - served.space.encode("text", TEXTS[:2]).vectors).max() < NEAR
    assert np.abs(found[1] - served.space.encode("image", [png()]).vectors[0]).max() < NEAR


def test_parts_that_no_encoder_takes_together_are_refused(http):
    answer = post(http, input=[{"text": "cat", "image": uri(png())}])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_modality")


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]]])
def test_tokens_of_an_unknown_tokenizer_are_refused(http, tokens):
    answer = post(http, input=tokens)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "tokens")


def test_the_full_width_may_be_asked_for(client, served):
    found = client.embeddings.create(model="offline", input=TEXTS, dimensions=served.space.dim)
    assert found.model_extra["space"] == served.space.id


def test_a_width_that_the_model_doesnt_declare_is_refused(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="offline", input="cat", dimensions=7)
    assert (caught.value.code, caught.value.param) == ("unknown_width", "dimensions")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"input": None},
        {"input": []},
        {"input": 5},
        {"input": {}},
        {"input": [None]},
        {"input": [[]]},
        {"input": ["cat", 5]},
        {"input": [5, "cat"]},
        {"input": [[5, "cat"]]},
        {"input": [True]},
        {"input": [1.5]},
        {"input": [{}]},
        {"input": [{"text": 5}]},
        {"input": [{"secret": "cat"}]},
        {"input": [{"text": None}]},
        {"input": [{"type": "secret"}]},
        {"input": [{"type": "text"}]},
        {"input": [{"type": "image_url", "image_url": {"url": 5}}]},
        {"input": [{"type": ["text"]}]},
        {"input": "cat", "messages": [{"role": "user", "content": "cat"}]},
        {"messages": []},
        {"messages": [5]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": {}}]},
        {"messages": [{"role": "system", "content": "secret"}, {"role": "user", "content": "cat"}]},
        {"messages": [{"role": "user", "content": "cat"}, {"role": "user", "content": "dog"}]},
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": 5}}]}]},
        {"input": "cat", "encoding_format": "secret"},
        {"input": "cat", "dimensions": 0},
        {"input": "cat", "dimensions": "7"},
        {"input": "cat", "dimensions": True},
        {"input": "cat", "role": "secret"},
        {"input": "cat", "secret": 1},
        {"input": "cat", "model": 5},
        [],
        "secret",
        5,
        None,
    ],
)
def test_a_body_of_another_shape_is_an_error_that_echoes_nothing(http, body):
    headers = {"Content-Type": "application/json"}
    answer = http.post("/v1/embeddings", content=json.dumps(body), headers=headers)
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["code"] in {"invalid_input", "invalid_shape", "unknown_field"}
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "modality", ["secret", "text:query", "image+text", "interleaved", "", "Text", "secret" * 999]
)
def test_an_unknown_modality_is_an_error_that_echoes_nothing(http, modality):
    answer = post(http, input="cat", modality=modality)
    assert answer.status_code == 400
    assert "secret" not in answer.text


def test_bad_items_are_named_by_their_places(http):
    answer = post(http, input=["cat", " ", "dog", "\u200b"])
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert [item["index"] for item in error["items"]] == [1, 3]
    assert error["message"].startswith("item 1 of 4 (and 1 others)")


def test_a_bad_picture_is_named_by_its_place(http):
    answer = post(http, input=[uri(png()), uri(b"secret nonsense")], modality="image")
    assert answer.status_code == 422
    assert answer.json()["error"]["items"][0]["index"] == 1
    assert "secret" not in answer.text


def test_two_spaces_are_told_apart_by_their_names(default_space, small_space):
    with run_server(default_space, small_space) as both, both.client() as http:
        first, second = post(http, input="cat"), post(http, input="cat", model=small_space.name)
        assert first.json()["space"] == default_space.id
        assert second.json()["space"] == small_space.id
        assert rows(second).shape == (1, small_space.dim)


def test_a_fused_item_of_a_message_is_encoded(fused_space):
    content = [{"type": "text", "text": "cat"}, {"type": "image_url", "image_url": {"url": uri(png())}}]
    with run_server(fused_space) as served, served.client() as http:
        assert post(http, input="cat", modality="image+text").status_code == 400
        found = rows(post(http, messages=[{"role": "user", "content": content}]))
        as_object = rows(post(http, input=[{"text": "cat", "image": uri(png())}]))
        picture_alone = rows(post(http, input=[{"image": uri(png())}]))
    assert np.array_equal(found, fused_space.encode("image+text", [(png(), "cat")]).vectors)
    assert np.array_equal(as_object, found)
    assert np.array_equal(picture_alone, fused_space.encode("image", [png()]).vectors)


def test_vectors_are_cut_to_a_declared_width_in_a_space_of_their_own(small_space):
    with run_server(small_space) as served, served.client() as http:
        answer = post(http, input=["cat", "dog"], dimensions=4)
        cut = small_space.encode("text", ["cat", "dog"]).truncate(4)
        assert np.array_equal(rows(answer), cut.vectors)
        assert answer.json()["space"] == answer.headers["x-mmencode-space"] == cut.space
        assert post(http, input=["cat"], dimensions=4, space=cut.space).status_code == 200
        assert post(http, input=["cat"], dimensions=4, space=small_space.id).status_code == 409
        assert post(http, input=[uri(png())], modality="image", dimensions=4).status_code == 400


@pytest.mark.parametrize("form", ["float", "base64"])
def test_many_vectors_of_an_item_are_lists_of_lists(multi_space, form):
    with run_server(multi_space) as served, served.client() as http:
        answer = post(http, input=["cat", "doggy"], encoding_format=form).json()
    found = [np.array(row["embedding"], np.float32) for row in answer["data"]]
    expected = multi_space.encode_multi("text", ["cat", "doggy"]).arrays
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
