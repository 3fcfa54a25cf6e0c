from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmencode.embeddings import Embeddings
from mmencode.errors import InputError, SpaceMismatchError, UnknownModalityError
from mmencode.space import Space
from mmencode.testing import FakeText, fake_specs, sample_items

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
