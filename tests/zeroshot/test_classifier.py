from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from mmencode.embeddings.embeddings import Embeddings
from mmencode.errors import ClosedError, InputError, LabelError, SpaceMismatchError, UnknownModalityError
from mmencode.spaces.space import Space
from mmencode.testing import FakeText, fake_specs, sample_items
from mmencode.zeroshot import Bank

LABELS = ["cat", "dog", "red car"]


@pytest.fixture
def texts(monkeypatch):
    """What the text encoder was asked to encode, in order."""
    seen = []
    real = FakeText.preprocess

    def preprocess(self, item):
        seen.append(item)
        return real(self, item)

    monkeypatch.setattr(FakeText, "preprocess", preprocess)
    return seen


def test_text_is_classified_as_itself(space):
    classification = space.classifier(LABELS).classify("text", ["dog", "red car", "cat"])
    assert classification.best == ["dog", "red car", "cat"]
    assert classification.scores.shape == (3, 3)
    assert len(classification) == 3
    ranked = classification.top(2)
    assert [row[0][0] for row in ranked] == classification.best
    assert all(len(row) == 2 and row[0][1] >= row[1][1] for row in ranked)


def test_space_without_a_scale_has_no_probabilities(space):
    with pytest.raises(ValueError, match="rank by `scores`"):
        space.classifier(LABELS).classify("text", ["dog"]).probabilities()


def test_labels_are_encoded_once(space, texts):
    classifier = space.classifier(LABELS)
    for _ in range(3):
        classifier.classify("image", sample_items("image", 2))
    assert sorted(texts) == sorted(LABELS)


def test_each_modality_has_its_own_prompt(texts):
    prompts = {"image": "a photo of a {label}", "audio": "the sound of {label}"}
    specs = [replace(spec, prompt=prompts.get(spec.modality, "{label}")) for spec in fake_specs()]
    with Space("fake", specs) as space:
        classifier = space.classifier(["cat"])
        classifier.classify("image", sample_items("image", 1))
        classifier.classify("audio", sample_items("audio", 1))
        assert texts == ["a photo of a cat", "the sound of cat"]
        space.classifier(["cat"], ["{label}!"]).classify("image", sample_items("image", 1))
        assert texts[-1] == "cat!"


def test_templates_are_averaged_and_normalised_again(space):
    templates = ["a {label}", "the {label} {braces}"]
    found = space.classifier(["cat"], templates).label_embeddings("image")
    prompts = space.encode("text", ["a cat", "the cat {braces}"]).vectors
    expected = prompts.mean(axis=0) / np.linalg.norm(prompts.mean(axis=0))
    np.testing.assert_allclose(found.vectors[0], expected, atol=1e-6)
    assert found.space == space.id


def test_skipped_items_are_reported(space):
    found = space.classifier(LABELS).classify("text", ["cat", None, "dog"], on_error="skip")
    assert found.best == ["cat", "dog"]
    assert found.positions.tolist() == [0, 2]
    assert [error.index for error in found.errors] == [1]
    with pytest.raises(InputError):
        space.classifier(LABELS).classify("text", ["cat", None])


def test_embeddings_of_another_space_are_refused(space):
    other = Embeddings(np.ones((1, 8), np.float32), space="other@2", modality="image")
    with pytest.raises(SpaceMismatchError, match="other@2"):
        space.classifier(LABELS).rank(other)


def test_space_without_text_has_no_classifier():
    image = [spec for spec in fake_specs() if spec.modality == "image"]
    with pytest.raises(UnknownModalityError, match="no encoder for 'text'"):
        Space("fake", image).classifier(LABELS).classify("image", sample_items("image", 1))


@pytest.mark.parametrize("labels", [[], ["a", "a"], ["a", " "]])
def test_labels_must_be_distinct_words(space, labels):
    with pytest.raises(ValueError, match="labels must be"):
        space.classifier(labels)


@pytest.mark.parametrize("labels", ["cat", [1], [None]])
def test_labels_must_be_a_list_of_strings(space, labels):
    with pytest.raises(TypeError, match="labels must be"):
        space.classifier(labels)


def test_template_must_have_a_place_for_the_label(space):
    with pytest.raises(ValueError, match="has no"):
        space.classifier(["a"], ["a photo"])


def test_second_classifier_with_the_same_prompts_encodes_nothing(space, texts):
    for _ in range(2):
        space.classifier(LABELS, ["a {label}"]).classify("image", sample_items("image", 1))
    assert sorted(texts) == sorted(f"a {label}" for label in LABELS)


def test_prompt_that_several_labels_and_classifiers_share_is_encoded_once(space, texts):
    space.classifier({"a": ["one", "two"], "b": ["two", "three"]}).label_embeddings("image")
    space.classifier({"c": ["three", "four", "four"]}).label_embeddings("image")
    assert sorted(texts) == ["four", "one", "three", "two"]


def test_threads_that_ask_at_once_share_one_encoding(space, texts):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: space.classifier(LABELS).label_embeddings("image"), range(8)))
    assert sorted(texts) == sorted(LABELS)
    assert all(np.array_equal(other.vectors, found[0].vectors) for other in found)


def test_bank_keeps_no_more_than_its_bound_and_those_used_last(space):
    bank = Bank(numbers=8 * 3)
    for text in ("a", "b", "c", "a", "d"):
        bank.means(space, ["x"], [[text]])
    assert list(bank._vectors) == ["c", "a", "d"]


def test_bank_smaller_than_one_classifier_still_gives_all_its_vectors(space):
    found = Bank(numbers=8).means(space, LABELS, [[label] for label in LABELS])
    np.testing.assert_array_equal(found.vectors, space.encode("text", LABELS).vectors)


def test_closed_space_keeps_no_vectors_of_prompts(space):
    space.classifier(LABELS).label_embeddings("image")
    space.close()
    assert len(space._bank) == 0
    with pytest.raises(ClosedError):
        space.classifier(LABELS).label_embeddings("image")


def test_prompts_of_a_label_are_taken_as_they_are(space, texts):
    prompts = {"cat": ["a {label} that purrs", "whiskers"], "dog": ["it barks"]}
    found = space.classifier(prompts).label_embeddings("image")
    assert sorted(texts) == ["a {label} that purrs", "it barks", "whiskers"]
    mean = space.encode("text", prompts["cat"]).vectors.mean(axis=0)
    np.testing.assert_allclose(found.vectors[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_synonyms_go_into_every_template(space, texts):
    space.classifier(["cat", "car"], ["a {label}", "{label}!"], synonyms={"car": ["auto"]}).label_embeddings(
        "image"
    )
    assert sorted(texts) == ["a auto", "a car", "a cat", "auto!", "car!", "cat!"]


@pytest.mark.parametrize(
    ("by", "of"), [("image", "audio"), ("audio", "image"), ("image", "image"), ("audio", "text")]
)
def test_labels_by_example_classify_any_modality(space, by, of):
    items = sample_items(by, 3)
    found = space.classifier({"first": items[:2], "second": items[2:]}, by=by).classify(
        of, sample_items(of, 4)
    )
    means = space.encode(by, items).vectors
    mean = means[:2].mean(axis=0)
    expected = space.encode(of, sample_items(of, 4)).vectors @ (mean / np.linalg.norm(mean))
    np.testing.assert_allclose(found.scores[:, 0], expected, atol=1e-5)


def test_label_by_example_finds_the_example_itself(space):
    items = sample_items("image", 4)
    by_name = {f"number {number}": [item] for number, item in enumerate(items)}
    assert space.classifier(by_name, by="image").classify("image", items).best == list(by_name)


def test_example_that_cannot_be_encoded_is_named_with_its_label(space):
    labels = {"fine": sample_items("image", 2), "broken": [*sample_items("image", 1), "no/such/file.png"]}
    with pytest.raises(InputError, match=r"item 1, example of 'broken', no/such/file\.png"):
        space.classifier(labels, by="image").classify("image", sample_items("image", 1))


def test_vectors_that_are_not_finite_are_refused(space):
    vectors = np.ones((3, 8), np.float32)
    vectors[1, 2] = np.nan
    bad = Embeddings(vectors, space=space.id, modality="image")
    with pytest.raises(ValueError, match="row 1 isn't finite"):
        space.classifier(LABELS).rank(bad)


def test_what_knows_no_space_cannot_be_ranked(space):
    with pytest.raises(TypeError, match="what space it belongs to"):
        space.classifier(LABELS).rank(np.ones((1, 8), np.float32))


def test_prompts_that_cancel_each_other_out_are_refused():
    class Opposite:
        def encode(self, modality, texts, role=""):
            return Embeddings(np.array([[1, 0], [-1, 0]], np.float32), space="s@1", modality="text")

    with pytest.raises(LabelError, match="'cat' cancel each other out"):
        Bank().means(Opposite(), ["cat"], [["a", "b"]])


def test_null_class_takes_what_fits_no_label_better(space):
    classifier = space.classifier(LABELS, null=["nothing at all"])
    assert classifier.classify("text", ["dog", "nothing at all"]).best == ["dog", None]
    assert classifier.label_embeddings("image").vectors.shape == (3, 8)


def test_batch_of_no_items_has_no_rows(space):
    found = space.classifier(LABELS, null=["x"]).classify("image", [])
    assert (found.best, found.top(2), found.above(0.5)) == ([], [], [])
