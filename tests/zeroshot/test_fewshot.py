from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmencode.embeddings.embeddings import Embeddings
from mmencode.errors import FitError, LabelError, MissingPackageError, SpaceMismatchError
from mmencode.zeroshot.fewshot import Examples, fit_head
from mmencode.zeroshot.heads import Head

LABELS = ["a", "b", "c"]
METHODS = ["blend", "mean", "probe"]


def clusters(space, each=6, seed=0):
    """Vectors around three directions, and the label of each."""
    draw = np.random.default_rng(seed)
    centres = np.eye(8)[:3]
    vectors = np.repeat(centres, each, axis=0) + draw.normal(0, 0.15, (3 * each, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embeddings(vectors, space=space.id, modality="image"), [
        label for label in LABELS for _ in range(each)
    ]


@pytest.mark.parametrize("method", METHODS)
def test_examples_teach_what_prompts_do_not_say(space, method):
    examples, truth = clusters(space)
    others, expected = clusters(space, seed=1)
    classifier = space.classifier(LABELS)
    found = classifier.with_examples("image", examples, truth, method)
    assert found.rank(others).best == expected
    assert classifier.rank(others).best != expected
    assert "examples of image" in repr(found)


@pytest.mark.parametrize("method", METHODS)
def test_examples_of_each_label_by_itself_teach_several_at_once(space, method):
    examples, truth = clusters(space)
    sets = [[label] for label in truth]
    classifier = space.classifier(LABELS, multi_label=True).with_examples("image", examples, sets, method)
    others, expected = clusters(space, seed=1)
    assert classifier.rank(others).best == expected
    calibrated = classifier.calibrate("image", others, [[label] for label in expected])
    shown, wanted = clusters(space, seed=2)
    assert [[label for label, _ in row] for row in calibrated.rank(shown).above()] == [[w] for w in wanted]


@pytest.mark.parametrize("method", METHODS)
def test_other_modalities_keep_the_prompts(space, method):
    examples, truth = clusters(space)
    found = space.classifier(LABELS).with_examples("image", examples, truth, method)
    expected = space.classifier(LABELS).classify("text", ["a", "c"])
    np.testing.assert_array_equal(found.classify("text", ["a", "c"]).scores, expected.scores)


@pytest.mark.parametrize("method", METHODS)
def test_examples_of_another_space_are_refused(space, method):
    examples, truth = clusters(space)
    other = Embeddings(examples.vectors, space="other@1", modality="image")
    with pytest.raises(SpaceMismatchError, match="other@1"):
        space.classifier(LABELS).with_examples("image", other, truth, method)
    with pytest.raises(SpaceMismatchError, match="other@1"):
        space.classifier(LABELS).with_examples("image", examples, truth, method).rank(other)


def test_nearest_class_mean_scores_by_the_normalised_mean(space):
    examples, truth = clusters(space, each=2)
    found = space.classifier(LABELS).with_examples("image", examples, truth, "mean").rank(examples)
    means = examples.vectors.reshape(3, 2, 8).mean(axis=1)
    expected = examples.vectors @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    np.testing.assert_allclose(found.scores, expected, atol=1e-6)


def blended(space, examples, truth, prior=4.0):
    classifier = space.classifier(LABELS)
    found = classifier.with_examples("image", examples, truth, "blend", prior=prior)
    return found.rank(examples).scores, classifier.rank(examples).scores


def test_blend_with_hardly_any_weight_of_examples_ranks_as_the_prompts_do(space):
    examples, truth = clusters(space)
    found, prompts = blended(space, examples, truth, prior=1e6)
    np.testing.assert_allclose(
        found - found.mean(axis=1, keepdims=True), prompts - prompts.mean(axis=1, keepdims=True), atol=1e-4
    )


def test_blend_with_hardly_any_prior_is_the_nearest_class_mean(space):
    examples, truth = clusters(space)
    found, _ = blended(space, examples, truth, prior=1e-6)
    mean = space.classifier(LABELS).with_examples("image", examples, truth, "mean").rank(examples).scores
    np.testing.assert_allclose(found, mean, atol=1e-4)


def test_blend_is_the_formula_of_its_docstring(space):
    examples, truth = clusters(space, each=2)
    prompts = space.classifier(LABELS).label_embeddings("image").vectors
    means = examples.vectors.reshape(3, 2, 8).mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    moved = prompts + (means - prompts).mean(axis=0)
    found, _ = blended(space, examples, truth, prior=3.0)
    np.testing.assert_allclose(found, examples.vectors @ ((3 * moved + 2 * means) / 5).T, atol=1e-5)


def test_blend_keeps_labels_without_examples(space):
    examples, truth = clusters(space)
    found = space.classifier(LABELS).with_examples("image", examples[:6], truth[:6])
    assert np.isfinite(found.rank(examples).scores).all()


@settings(deadline=None)
@given(st.integers(1, 40))
def test_more_examples_that_say_nothing_new_favour_no_label(count):
    """Where examples lie as the prompts do, only moved, their number changes no differences of scores."""
    prompts = np.eye(3, 4, dtype=np.float32)
    targets = np.repeat(np.eye(3, dtype=bool), [count, 1, 2], axis=0)
    head = Head(prompts, None, "s@1", None)
    examples = Examples(tuple(LABELS), prompts[targets.argmax(axis=1)], targets, False)
    np.testing.assert_allclose(fit_head(examples, head, "blend", 4.0).weights, prompts, atol=1e-6)


@pytest.mark.parametrize("prior", [0, -1, np.nan, np.inf])
def test_prior_must_be_a_positive_number(space, prior):
    with pytest.raises(ValueError, match="prior is"):
        space.classifier(LABELS).with_examples("image", *clusters(space), prior=prior)


@pytest.mark.parametrize("count", [2, 3])
def test_linear_probe_is_the_logistic_regression_of_scikit_learn(space, count):
    linear = pytest.importorskip("sklearn.linear_model")
    examples, truth = clusters(space, each=1)
    examples, truth = examples[:count], truth[:count]
    found = space.classifier(LABELS[:count]).with_examples("image", examples, truth, "probe")
    reference = linear.LogisticRegression(C=10.0, max_iter=1000).fit(examples.vectors.astype(float), truth)
    others, _ = clusters(space, seed=1)
    expected = reference.predict_proba(others.vectors)
    np.testing.assert_allclose(found.rank(others).probabilities(), expected, atol=1e-5)


@pytest.mark.parametrize("method", ["mean", "probe"])
def test_label_without_examples_is_refused_where_there_are_no_prompts(space, method):
    examples, truth = clusters(space)
    with pytest.raises(LabelError, match="'c'") as raised:
        space.classifier(LABELS).with_examples("image", examples[:12], truth[:12], method)
    assert "blend" in str(raised.value)


@pytest.mark.parametrize("sets", [[["a"]] * 18, [["b"], ["c"]] * 9])
def test_linear_probe_of_a_label_that_all_examples_have_or_none_is_refused(space, sets):
    examples, _ = clusters(space)
    with pytest.raises(LabelError, match="can't tell what makes it one"):
        space.classifier(LABELS, multi_label=True).with_examples("image", examples, sets, "probe")


def test_linear_probe_of_a_single_label_is_refused(space):
    examples, _ = clusters(space)
    with pytest.raises(LabelError, match="two labels or more"):
        space.classifier(["a"]).with_examples("image", examples, ["a"] * 18, "probe")


def test_linear_probe_without_scikit_learn_names_the_pip_line(space, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'mmencode\[fewshot\]'"):
        space.classifier(LABELS).with_examples("image", *clusters(space), "probe")


@pytest.mark.parametrize("method", METHODS)
def test_no_examples_at_all_are_refused(space, method):
    with pytest.raises(FitError, match="no labelled examples"):
        space.classifier(LABELS).with_examples("image", [], [], method)


def test_unknown_method_is_refused(space):
    with pytest.raises(ValueError, match="one of blend, mean, probe"):
        space.classifier(LABELS).with_examples("image", *clusters(space), "magic")


def test_examples_of_an_unknown_label_are_refused(space):
    examples, truth = clusters(space)
    with pytest.raises(LabelError, match="'A' is none of the labels"):
        space.classifier(LABELS).with_examples("image", examples, ["A", *truth[1:]])


def test_examples_that_cancel_each_other_out_are_refused(space):
    vectors = np.array([[1, 0, 0, 0, 0, 0, 0, 0], [-1, 0, 0, 0, 0, 0, 0, 0]], np.float32)
    examples = Embeddings(vectors, space=space.id, modality="image")
    with pytest.raises(LabelError, match="cancel each other out"):
        space.classifier(["a"]).with_examples("image", examples, ["a", "a"], "mean")


def test_examples_of_none_need_a_null_class(space):
    examples, truth = clusters(space)
    nones = [None if label == "c" else label for label in truth]
    found = space.classifier(["a", "b"], null=["nothing"]).with_examples("image", examples, nones, "mean")
    others, expected = clusters(space, seed=1)
    assert found.rank(others).best == [None if label == "c" else label for label in expected]
    with pytest.raises(LabelError, match="null class"):
        space.classifier(["a", "b"]).with_examples("image", examples, nones)


def test_examples_drop_the_calibration_of_their_modality(space):
    examples, truth = clusters(space)
    once = space.classifier(LABELS).with_examples("image", examples, truth, "mean")
    calibrated = once.calibrate("image", *clusters(space, seed=1))
    assert calibrated.rank(examples).has_probabilities
    assert not calibrated.with_examples("image", examples, truth, "mean").rank(examples).has_probabilities
