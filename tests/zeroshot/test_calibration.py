from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mmencode.embeddings.embeddings import Embeddings
from mmencode.errors import FitError, LabelError, SpaceMismatchError
from mmencode.plugins.spec import Scoring
from mmencode.zeroshot.calibration import fit_calibration, measure_calibration_error
from mmencode.zeroshot.fitting import fit_platt, fit_temperature, fit_threshold
from mmencode.zeroshot.links import softmax

LABELS = ["cat", "dog", "red car"]
TEXTS = [f"{label}{mark}" for mark in ("", ".", "!", " a", "s") for label in LABELS]
TRUTH = LABELS * 5
OTHERS = ["zzzz", "0000 1", "????", "qqq", "~~~~~~"]


def drawn(scale, count=4000, labels=5, seed=0):
    """Scores, and labels drawn with the probabilities that a scale makes of them."""
    draw = np.random.default_rng(seed)
    scores = draw.normal(0.2, 0.1, (count, labels))
    chances = softmax(scale * scores)
    places = (chances.cumsum(axis=1) > draw.random((count, 1))).argmax(axis=1)
    return scores, np.eye(labels, dtype=bool)[places]


@pytest.mark.parametrize("scale", [3.0, 20.0, 100.0])
def test_temperature_is_found_again_where_it_drew_the_labels(scale):
    assert fit_temperature(*drawn(scale)).scale == pytest.approx(scale, rel=0.1)


def test_temperature_is_the_minimum_of_the_smoothed_loss():
    scores, targets = drawn(20.0, count=30)
    wanted = 30 / 31 * targets + 1 / 31 / 5
    grid = np.linspace(0.1, 60, 20_000)
    losses = [-(wanted * np.log(softmax(scale * scores))).sum() for scale in grid]
    assert fit_temperature(scores, targets).scale == pytest.approx(grid[np.argmin(losses)], abs=0.01)


def test_temperature_of_items_that_are_all_right_is_finite():
    scores = np.eye(4)[np.arange(12) % 4] * 0.1
    assert 0 < fit_temperature(scores, scores > 0).scale < 1000


@pytest.mark.parametrize("scores", [np.zeros((8, 2)), np.tile([[0.9, 0.1], [0.1, 0.9]], (4, 1))])
def test_temperature_of_scores_that_say_nothing_or_the_contrary_is_none(scores):
    targets = np.tile([[False, True], [True, False]], (4, 1))
    assert fit_temperature(scores, targets).scale == 0


@settings(deadline=None)
@given(
    arrays.arrays(np.float64, (12, 3), elements=st.floats(-1, 1)),
    st.lists(st.integers(0, 2), min_size=12, max_size=12),
)
def test_fitted_scales_are_finite_whatever_the_scores(scores, places):
    targets = np.eye(3, dtype=bool)[places]
    for found in (fit_temperature(scores, targets), fit_platt(scores, targets)):
        assert np.isfinite([found.scale, found.bias]).all()


@pytest.mark.parametrize("count", [20, 500])
def test_platt_scale_and_bias_are_those_of_scikit_learn(count):
    reference = pytest.importorskip("sklearn.calibration")._sigmoid_calibration
    draw = np.random.default_rng(0)
    scores = draw.normal(0.2, 0.1, (count, 1))
    targets = draw.random((count, 1)) < 1 / (1 + np.exp(-(30 * scores - 7)))
    slope, intercept = reference(scores.ravel(), targets.ravel())
    found = fit_platt(scores, targets)
    assert (found.scale, found.bias) == pytest.approx((-slope, -intercept), rel=1e-3)


def test_calibration_error_is_that_of_guo_et_al():
    """The loop of their published code, on random probabilities."""
    scores, targets = drawn(5.0, count=300)
    chances = softmax(9.0 * scores)
    confidence, hits = chances.max(axis=1), targets[np.arange(300), chances.argmax(axis=1)]
    expected = 0.0
    edges = np.linspace(0, 1, 16)
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            expected += abs(confidence[inside].mean() - hits[inside].mean()) * inside.mean()
    assert measure_calibration_error(chances, targets) == pytest.approx(expected)


def test_probabilities_that_are_always_right_and_sure_have_no_error():
    assert measure_calibration_error(np.eye(3), np.eye(3, dtype=bool)) == 0


def test_fitted_temperature_mends_an_encoder_that_is_too_sure():
    scores, targets = drawn(10.0, count=400)
    found = fit_calibration(
        "image", scores, targets, Scoring(kind="softmax", scale=100.0), multi_label=False, rejecting=True
    )
    assert found.error_before > 0.3
    assert found.error < 0.1
    assert found.loss < found.loss_before
    assert (found.count, found.nones, found.folds, found.threshold) == (400, 0, 5, None)


def test_error_is_measured_on_items_that_the_scale_was_not_fitted_to(monkeypatch):
    seen = []

    def fit(scores, targets):
        seen.append({tuple(row) for row in scores})
        return fit_temperature(scores, targets)

    monkeypatch.setattr("mmencode.zeroshot.calibration.fit_temperature", fit)
    scores, targets = drawn(10.0, count=50)
    fit_calibration("image", scores, targets, None, multi_label=False, rejecting=False)
    everything, *parts = sorted(seen, key=len, reverse=True)
    assert len(parts) == 5
    left_out = [everything - part for part in parts]
    assert all(len(rows) == 10 for rows in left_out)
    assert set.union(*left_out) == everything


def test_threshold_splits_what_is_separate_halfway():
    found = fit_threshold(np.array([0.1, 0.2, 0.6, 0.7]), np.array([True, True, False, False]))
    assert found == pytest.approx(0.4)


def test_threshold_of_scores_that_are_no_higher_for_labelled_items_is_refused():
    with pytest.raises(FitError, match="score as high"):
        fit_threshold(np.array([0.5, 0.6, 0.1, 0.2]), np.array([True, True, False, False]))


def test_calibrated_classifier_has_probabilities_and_the_first_one_stays_as_it_was(space):
    before = space.classifier(LABELS)
    after = before.calibrate("text", TEXTS, TRUTH)
    assert before.calibrations == {}
    assert after.calibrations["text"].count == 15
    assert after.calibrations["text"].error_before is None
    found = after.classify("text", ["dog"])
    assert found.probabilities().argmax() == 1
    np.testing.assert_allclose(found.probabilities().sum(), 1, rtol=1e-5)
    np.testing.assert_array_equal(found.scores, before.classify("text", ["dog"]).scores)
    assert not after.rank(space.encode("text", ["dog"])).threshold
    assert "calibrated for text" in repr(after)
    assert "15 labelled items" in str(after.calibrations["text"])


def test_calibration_of_one_modality_says_nothing_about_another(space):
    found = space.classifier(LABELS).calibrate("text", TEXTS, TRUTH)
    image = np.zeros((8, 8, 3), np.uint8)
    assert not found.classify("image", [image]).has_probabilities


def test_encoded_items_calibrate_as_raw_ones_do(space):
    classifier = space.classifier(LABELS)
    raw = classifier.calibrate("text", TEXTS, TRUTH).calibrations["text"]
    encoded = classifier.calibrate("text", space.encode("text", TEXTS), TRUTH).calibrations["text"]
    assert raw == encoded


def test_items_labelled_none_choose_a_threshold(space):
    found = space.classifier(LABELS).calibrate("text", TEXTS + OTHERS, TRUTH + [None] * 5)
    measured = found.calibrations["text"]
    assert measured.nones == 5
    assert measured.threshold is not None
    assert measured.accepted > 0.8
    assert measured.rejected > 0.5
    assert found.classify("text", ["dog", "????"]).best == ["dog", None]
    assert "rejects" in str(measured)


def test_items_labelled_none_belong_to_the_null_class_where_there_is_one(space):
    found = space.classifier(LABELS, null=["????"]).calibrate("text", TEXTS + OTHERS, TRUTH + [None] * 5)
    assert found.calibrations["text"].threshold is None
    assert found.calibrations["text"].count == 20


def test_multi_label_gets_scale_and_bias_and_a_threshold_at_one_half(space):
    truth = [[label] for label in TRUTH] + [[]] * 5
    found = space.classifier(LABELS, multi_label=True).calibrate("text", TEXTS + OTHERS, truth)
    result = found.classify("text", ["dog", "????"])
    assert [[label for label, _ in row] for row in result.above()] == [["dog"], []]
    above = result.scores >= result.threshold
    assert (above == (result.probabilities() >= 0.5)).all()


@pytest.mark.parametrize(("items", "labels"), [([], []), (TEXTS[:9], TRUTH[:9])])
def test_too_few_items_to_calibrate_are_refused(space, items, labels):
    with pytest.raises(FitError, match="too few to calibrate") as raised:
        space.classifier(LABELS).calibrate("text", items, labels)
    assert "label 10 or more" in str(raised.value)


def test_too_few_items_to_choose_a_threshold_are_refused(space):
    with pytest.raises(FitError, match="2 items that are none of the labels are too few"):
        space.classifier(LABELS).calibrate("text", TEXTS + OTHERS[:2], TRUTH + [None] * 2)


def test_labels_that_have_nothing_to_do_with_the_items_are_refused(space):
    shifted = TRUTH[1:] + TRUTH[:1]
    with pytest.raises(FitError, match="say nothing about their labels"):
        space.classifier(LABELS).calibrate("text", TEXTS, shifted)


def test_single_label_has_no_temperature(space):
    with pytest.raises(FitError, match="with one label"):
        space.classifier(["cat"]).calibrate("text", TEXTS, ["cat"] * 15)


def test_labelled_items_of_an_unknown_label_are_refused(space):
    with pytest.raises(LabelError, match="'bird' is none of the labels"):
        space.classifier(LABELS).calibrate("text", TEXTS, [*TRUTH[:-1], "bird"])


def test_as_many_labels_as_items_are_needed(space):
    with pytest.raises(ValueError, match="15 items need 15 labels in a list, not 14"):
        space.classifier(LABELS).calibrate("text", TEXTS, TRUTH[:-1])


@pytest.mark.parametrize(("multi_label", "label"), [(True, "cat"), (True, None), (False, ["cat"])])
def test_labels_of_the_other_mode_are_refused(space, multi_label, label):
    with pytest.raises(TypeError, match="label 0 is"):
        space.classifier(LABELS, multi_label=multi_label).calibrate("text", TEXTS, [label] * 15)


def test_null_class_and_fitted_probabilities_of_each_label_exclude_each_other(space):
    with pytest.raises(FitError, match="without a null class"):
        space.classifier(LABELS, null=["x"], multi_label=True).calibrate("text", TEXTS, [[]] * 15)


def test_vectors_of_another_space_or_modality_calibrate_nothing(space):
    classifier = space.classifier(LABELS)
    vectors = np.ones((15, 8), np.float32)
    with pytest.raises(SpaceMismatchError):
        classifier.calibrate("text", Embeddings(vectors, space="other@1", modality="text"), TRUTH)
    with pytest.raises(ValueError, match="vectors of 'image', not of 'text'"):
        classifier.calibrate("text", Embeddings(vectors, space=space.id, modality="image"), TRUTH)
    with pytest.raises(ValueError, match="isn't finite"):
        classifier.calibrate("text", Embeddings(vectors * np.nan, space=space.id, modality="text"), TRUTH)
