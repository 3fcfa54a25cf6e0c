from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mmencode.embeddings.topk import best_columns
from mmencode.errors import MissingPackageError
from mmencode.plugins.spec import Scoring
from mmencode.zeroshot import Classification

SOFTMAX = Scoring(kind="softmax", scale=10.0)
SIGMOID = Scoring(kind="sigmoid", scale=10.0, bias=-2.0)
SCORES = [[0.1, 0.3, 0.2], [0.5, 0.1, 0.5]]


def make(scores=SCORES, **options):
    scores = np.asarray(scores, np.float32)
    labels = tuple("abcdefgh"[: scores.shape[1]])
    return Classification(labels, scores, np.arange(len(scores)) * 2, (), **options)


def test_best_is_none_below_the_threshold_and_only_there():
    assert make().with_threshold(0.4).best == [None, "a"]
    assert make(threshold=0.3).best == ["b", "a"]


def test_best_is_none_where_the_null_class_scores_higher():
    assert make(null=np.array([0.31, 0.2], np.float32)).best == [None, "a"]


def test_top_keeps_the_order_of_labels_with_equal_scores():
    assert [label for label, _ in make().top(3)[1]] == ["a", "c", "b"]


@settings(deadline=None)
@given(
    arrays.arrays(np.float32, (3, 40), elements=st.sampled_from([-1.0, 0.0, 0.25, 1.0])), st.integers(1, 40)
)
def test_best_columns_are_the_first_of_a_stable_sort(scores, k):
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(best_columns(np.tile(scores, (200, 1)), k), np.tile(expected, (200, 1)))


@pytest.mark.parametrize("k", [np.int64(2), 2**32])
def test_any_integer_says_how_many_labels(k):
    assert [label for label, _ in make().top(k)[0]] == ["b", "c", "a"][: min(k, 3)]


@pytest.mark.parametrize("k", [0, -1, True, 1.0])
def test_top_of_no_labels_is_refused(k):
    with pytest.raises(ValueError, match="positive int"):
        make().top(k)
    with pytest.raises(ValueError, match="positive int"):
        make().to_pandas(k)


def test_labels_above_a_threshold_come_best_first():
    found = make(multi_label=True).above(0.2)
    assert [[label for label, _ in row] for row in found] == [["b", "c"], ["a", "c"]]


def test_labels_above_the_null_class_count_without_a_threshold():
    found = make(null=np.array([0.25, 0.6], np.float32)).above()
    assert [[label for label, _ in row] for row in found] == [["b"], []]


def test_labels_above_nothing_said_are_refused():
    with pytest.raises(ValueError, match="pass a threshold, calibrate"):
        make().above()


@pytest.mark.parametrize("threshold", [np.nan, np.inf])
def test_threshold_must_be_finite(threshold):
    with pytest.raises(ValueError, match="finite"):
        make().with_threshold(threshold)


def test_softmax_shares_one_out_among_labels_and_the_null_class():
    null = np.array([0.3, 0.5], np.float32)
    found = make(scoring=SOFTMAX, null=null).probabilities()
    exponentials = np.exp(10 * np.c_[SCORES, null])
    np.testing.assert_allclose(found, (exponentials / exponentials.sum(1, keepdims=True))[:, :3], rtol=1e-5)


def test_sigmoid_judges_each_label_by_itself():
    found = make(scoring=SIGMOID, multi_label=True).probabilities()
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-(10 * np.array(SCORES) - 2))), rtol=1e-5)


def test_multi_label_puts_each_label_against_the_null_class():
    null = np.array([0.3, 0.1], np.float32)
    found = make(scoring=SOFTMAX, null=null, multi_label=True).probabilities()
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-10 * (np.array(SCORES) - null[:, None]))), rtol=1e-5)


def test_multi_label_without_a_null_class_has_no_probabilities_of_a_softmax():
    found = make(scoring=SOFTMAX, multi_label=True)
    assert not found.has_probabilities
    with pytest.raises(ValueError, match="judges each by itself"):
        found.probabilities()


def test_one_label_has_no_probability_of_a_softmax_but_against_a_null_class():
    alone = make([[0.1], [0.9]], scoring=SOFTMAX)
    assert not alone.has_probabilities
    with pytest.raises(
        ValueError, match=r"'a', would have the probability 1.*add labels, or give a null class"
    ):
        alone.probabilities()
    assert alone.best == ["a", "a"]
    null = np.array([0.2, 0.5], np.float32)
    found = make([[0.1], [0.9]], scoring=SOFTMAX, null=null).probabilities()
    np.testing.assert_allclose(found[:, 0], 1 / (1 + np.exp(-10 * np.array([-0.1, 0.4]))), rtol=1e-5)
    assert make([[0.1], [0.9]], scoring=SIGMOID).has_probabilities


def test_one_label_has_no_column_of_probabilities():
    pytest.importorskip("pandas")
    assert "probability" not in make([[0.1]], scoring=SOFTMAX).to_pandas()


@settings(deadline=None)
@given(
    arrays.arrays(np.float32, (3, 4), elements=st.floats(-1, 1, width=32)),
    st.sampled_from([0.0, 1.0, 100.0, 1e30]),
    st.sampled_from(["softmax", "sigmoid"]),
    st.booleans(),
)
def test_probabilities_are_finite_and_between_zero_and_one(scores, scale, kind, nulled):
    null = np.zeros(3, np.float32) if nulled else None
    found = make(scores, scoring=Scoring(kind=kind, scale=scale, bias=0.0), null=null).probabilities()
    assert np.isfinite(found).all()
    assert ((found >= 0) & (found <= 1)).all()
    if kind == "softmax" and not nulled:
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_pandas_has_a_row_for_each_of_the_best_labels():
    pytest.importorskip("pandas")
    table = make(scoring=SOFTMAX, threshold=0.25).to_pandas(2)
    assert list(table.columns) == ["position", "rank", "label", "score", "probability", "kept"]
    assert table["position"].tolist() == [0, 0, 2, 2]
    assert table["label"].tolist() == ["b", "c", "a", "c"]
    assert table["kept"].tolist() == [True, False, True, True]
    assert not table.isna().any().any()


def test_pandas_has_no_column_of_probabilities_without_a_scale():
    pytest.importorskip("pandas")
    assert "probability" not in make().to_pandas()


def test_missing_pandas_is_named_with_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackageError, match="pip install pandas"):
        make().to_pandas()
