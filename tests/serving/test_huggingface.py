"""Hugging Face's own client gets the vectors, similarities and labels that the library gives."""

from __future__ import annotations

import base64

import httpx2
import numpy as np
import pytest
from huggingface_hub import InferenceClient, set_client_factory
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._http import default_client_factory
from sent_items import png, wav
from servers import run_server
from sided_spaces import make_sided_space
from skimage import data as pictures

import mmencode

TEXTS = ["a cat on a sofa", "a rocket at night", "two cups of coffee"]
LABELS = ["cat", "coffee", "rocket"]
REFUSED = (HfHubHTTPError, httpx2.HTTPStatusError)  # the latter as huggingface-hub 1.31 lets it through


@pytest.fixture(autouse=True)
def reach_loopback():
    """The client has one connection for the whole process, which the suite keeps off the network."""
    set_client_factory(lambda: httpx2.Client(timeout=30, trust_env=False))
    yield
    set_client_factory(default_client_factory)


def asking(served, task="", query=""):
    path = f"/pipeline/{task}{query}" if task else ""
    return InferenceClient(model=f"{served.url}{path}")


def cat():
    from io import BytesIO

    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(pictures.chelsea()).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("task", ["", "feature-extraction"])
def test_features_are_the_librarys_vectors_bit_for_bit(served, task):
    found = asking(served, task).feature_extraction(TEXTS)
    assert np.array_equal(found, served.space.encode("text", TEXTS).vectors)


def test_features_of_one_text_are_one_row(served):
    found = asking(served).feature_extraction(TEXTS[0])
    assert np.array_equal(found, served.space.encode("text", TEXTS[:1]).vectors)


def test_a_model_in_the_path_chooses_the_space(default_space, small_space):
    with run_server(default_space, small_space) as served:
        client = InferenceClient(model=f"{served.url}/models/fake/pipeline/feature-extraction")
        found = client.feature_extraction(TEXTS)
    assert np.array_equal(found, small_space.encode("text", TEXTS).vectors)


def test_the_name_of_a_prompt_chooses_the_side():
    with make_sided_space() as space, run_server(space) as served:
        found = asking(served).feature_extraction(TEXTS, prompt_name="query")
        expected = space.encode("text", TEXTS, role="query").vectors
        assert np.array_equal(found, expected)
        assert not np.array_equal(asking(served).feature_extraction(TEXTS), expected)


def test_a_declared_width_cuts_features(small_space):
    with run_server(small_space) as served:
        found = asking(served).feature_extraction(TEXTS, dimensions=4)
    assert np.array_equal(found, small_space.encode("text", TEXTS).truncate(4).vectors)


def test_features_of_a_space_of_many_vectors_are_a_table_for_each_text(multi_space):
    with run_server(multi_space) as served:
        found = asking(served).feature_extraction(TEXTS[0])
    assert np.array_equal(found, multi_space.encode_multi("text", TEXTS[:1]).vectors[None])


@pytest.mark.parametrize(
    "options",
    [{"normalize": False}, {"truncate": False}, {"truncation_direction": "left"}, {"prompt_name": "x"}],
)
def test_what_isnt_done_is_refused(served, options):
    with pytest.raises(REFUSED, match="422"):
        asking(served).feature_extraction(TEXTS, **options)


def test_similarities_are_the_librarys(served):
    found = asking(served).sentence_similarity("a kitten", other_sentences=TEXTS)
    expected = mmencode.similarity(
        served.space.encode("text", ["a kitten"], role="query"), served.space.encode("text", TEXTS)
    )
    assert np.allclose(found, expected[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("task", ["", "zero-shot-image-classification"])
def test_labels_of_a_picture_are_the_librarys(served, task):
    found = asking(served, task).zero_shot_image_classification(cat(), candidate_labels=LABELS)
    expected = served.space.classifier(LABELS).classify("image", [cat()])
    assert [row.label for row in found] == [label for label, _ in expected.top(3)[0]]
    assert found[0].label == "cat"
    scores = expected.probabilities() if expected.has_probabilities else expected.scores
    assert np.allclose(
        [row.score for row in found], sorted(scores[0].tolist(), reverse=True), rtol=0, atol=1e-5
    )


def test_a_template_makes_the_prompts(served):
    found = asking(served).zero_shot_image_classification(
        cat(), candidate_labels=LABELS, hypothesis_template="a drawing of {}"
    )
    expected = served.space.classifier(LABELS, ["a drawing of {label}"]).classify("image", [cat()])
    scores = expected.probabilities() if expected.has_probabilities else expected.scores
    assert np.allclose(
        [row.score for row in found], sorted(scores[0].tolist(), reverse=True), rtol=0, atol=1e-5
    )


def test_labels_that_were_asked_before_give_the_same_scores(served):
    client = asking(served)
    first, second = (client.zero_shot_image_classification(cat(), candidate_labels=LABELS) for _ in range(2))
    assert [row.label for row in first] == [row.label for row in second]
    assert np.allclose([row.score for row in first], [row.score for row in second], rtol=0, atol=1e-5)


def test_labels_of_a_sound_come_in_the_url(served):
    labels = ["dog", "rain", "siren"]
    client = asking(served, "audio-classification", "?label=dog&label=rain&label=siren")
    expected = served.space.classifier(labels).classify("audio", [wav()])
    found = client.audio_classification(wav())
    assert [row.label for row in found] == [label for label, _ in expected.top(3)[0]]
    assert [row.label for row in client.audio_classification(wav(), top_k=1)] == [found[0].label]


def test_a_sound_without_labels_is_told_where_they_go(served):
    with pytest.raises(REFUSED) as caught:
        asking(served, "audio-classification").audio_classification(wav())
    assert caught.value.response.status_code == 422
    if isinstance(caught.value, HfHubHTTPError):  # else the client didn't read what was said
        assert "?label=" in caught.value.response.json()["error"]


def test_cosines_come_on_request(served):
    client = asking(served, "image-classification", "?label=cat&label=coffee&label=rocket")
    found = client.image_classification(cat(), function_to_apply="none")
    expected = served.space.classifier(LABELS).classify("image", [cat()]).scores[0]
    assert np.allclose(
        [row.score for row in found], sorted(expected.tolist(), reverse=True), rtol=0, atol=1e-5
    )
    assert {row["kind"] for row in found} == {"cosine"}


def test_labels_of_a_text_are_the_librarys(served):
    found = asking(served, "zero-shot-classification").zero_shot_classification("a kitten", LABELS)
    expected = served.space.classifier(LABELS).classify("text", ["a kitten"])
    assert [row.label for row in found] == [label for label, _ in expected.top(3)[0]]


@pytest.mark.parametrize(
    ("labels", "place"), [(["cat", "dog", "Cat"], 2), (["cat", " "], 1), (["cat", "?", "dog"], 1)]
)
def test_labels_that_make_no_classifier_are_named_by_their_place(http, labels, place):
    body = {"inputs": base64.b64encode(png()).decode(), "parameters": {"candidate_labels": labels}}
    answer = http.post("/", json=body)
    assert answer.status_code == 422
    assert f"label {place} " in answer.json()["error"]
    assert not any(repr(label) in answer.text for label in labels)


def test_a_bad_file_is_an_error_that_holds_nothing_of_it(http):
    answer = http.post("/pipeline/image-classification?label=cat&label=dog", content=b"secret words")
    assert answer.status_code == 422
    assert "secret" not in answer.text
    assert answer.json()["items"][0]["index"] == 0


def test_a_path_is_never_opened(http, tmp_path):
    path = tmp_path / "cat.png"
    path.write_bytes(png())
    body = {"inputs": str(path), "parameters": {"candidate_labels": ["cat", "dog"]}}
    answer = http.post("/pipeline/zero-shot-image-classification", json=body)
    assert answer.status_code == 422
    assert str(tmp_path) not in answer.text


def test_an_unknown_task_is_not_found(http):
    assert http.post("/pipeline/translation", json={"inputs": "a"}).status_code == 404


def test_the_id_of_the_space_is_in_the_header(http, served):
    assert http.post("/", json={"inputs": "a cat"}).headers["X-Mmencode-Space"] == served.space.id
    assert http.post("/embed", json={"inputs": "a cat"}).headers["X-Mmencode-Space"] == served.space.id


def test_text_embeddings_inferences_route_gives_the_same_vectors(http, served):
    answer = http.post("/embed", json={"inputs": TEXTS, "truncate": True, "normalize": True})
    assert np.array_equal(np.array(answer.json(), np.float32), served.space.encode("text", TEXTS).vectors)
