"""The estimators for scikit-learn, judged by its own checks, in pipelines and searches."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("mmencode_adapters", reason="mmencode-adapters: .ci/run hosts installs it")
pytest.importorskip("mmencode_offline", reason="the tests encode in the default space")
pytest.importorskip("sklearn", reason="scikit-learn: pip install 'mmencode-adapters[sklearn]'")

from adapting import save_twin
from mmencode_adapters.sklearn import SpaceTransformer, ZeroShotClassifier
from rows_encoder import rows_space
from skimage import data
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

import mmencode
from mmencode.errors import InputError, SpaceMismatchError

pytestmark = pytest.mark.hosts

ANIMALS = ["a cat", "a dog", "a horse", "a cow", "a sheep", "a kitten"]
VEHICLES = ["a car", "a truck", "a bicycle", "a bus", "a train", "a motorbike"]
TEXTS, KINDS = ANIMALS + VEHICLES, ["animal"] * 6 + ["vehicle"] * 6
ROWS = rows_space()


class RowTransformer(SpaceTransformer):
    """The transformer over rows of numbers, so that every check runs that scikit-learn has."""

    def __init__(self, space=ROWS, *, modality="row", role=""):
        super().__init__(space, modality=modality, role=role)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False
        return tags


class RowClassifier(ZeroShotClassifier):
    """The classifier over rows of numbers, which learns from them, since no class has a word for a row."""

    def __init__(self, space=ROWS, *, modality="row", words=None, templates=None, examples="mean"):
        super().__init__(space, modality=modality, words=words, templates=templates, examples=examples)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False
        return tags


ITEMS = "an item is anything that its modality reads, not a row of a fixed number of features"
DEFAULT = "no default may be an object, and these tests' is a loaded space; that of users is a name"
EXPECTED = {
    "check_transformer_general": ITEMS,
    "check_parameters_default_constructible": DEFAULT,
}


@parametrize_with_checks(
    [RowTransformer(), RowClassifier()],
    expected_failed_checks=lambda estimator: EXPECTED,
)
def test_the_checks_of_scikit_learn_pass(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", [SpaceTransformer(), ZeroShotClassifier()], ids=repr)
def test_scikit_learn_is_told_that_items_are_no_rows(estimator):
    with pytest.warns(SkipTestWarning, match="two_d_array=False"):
        assert all(found["status"] == "passed" for found in check_estimator(estimator))


@pytest.fixture(scope="module")
def space():
    with mmencode.load("default") as loaded:
        yield loaded


def test_vectors_are_those_of_the_space_in_a_pipeline_and_columns_have_names(space):
    transformer = SpaceTransformer().fit(TEXTS)
    expected = space.encode("text", TEXTS).vectors
    np.testing.assert_allclose(transformer.transform(TEXTS), expected, atol=1e-6)
    assert transformer.get_feature_names_out()[383] == "spacetransformer383"
    pipeline = make_pipeline(SpaceTransformer(), LogisticRegression()).fit(TEXTS, KINDS)
    assert pipeline.predict(["a goat", "a lorry"]).tolist() == ["animal", "vehicle"]
    assert cross_val_score(pipeline, TEXTS, KINDS, cv=3).mean() > 0.8


def test_a_column_of_a_table_is_encoded_beside_numbers():
    pandas = pytest.importorskip("pandas", reason="pandas isn't installed")
    table = pandas.DataFrame({"text": TEXTS, "wheels": [0] * 6 + [4, 6, 2, 6, 8, 2]})
    columns = ColumnTransformer([("text", SpaceTransformer(), "text"), ("rest", "passthrough", ["wheels"])])
    assert columns.fit_transform(table).shape == (12, 385)
    listed = ColumnTransformer([("text", SpaceTransformer(), ["text"])]).fit_transform(table)
    np.testing.assert_array_equal(listed, SpaceTransformer().fit_transform(TEXTS))
    frame = SpaceTransformer().set_output(transform="pandas").fit_transform(table["text"])
    assert list(frame.columns[:2]) == ["spacetransformer0", "spacetransformer1"]


def test_embeddings_pass_through_a_search_so_that_items_are_encoded_once(space):
    encoded = space.encode("text", TEXTS)
    np.testing.assert_array_equal(SpaceTransformer().fit_transform(encoded), encoded.vectors)
    pipeline = make_pipeline(SpaceTransformer(), LogisticRegression())
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 10]}, cv=3).fit(TEXTS, KINDS)
    assert search.best_score_ > 0.8
    assert search.predict(["a pony"]).tolist() == ["animal"]


def test_a_search_over_spaces_and_roles_clones_them(space):
    search = GridSearchCV(
        make_pipeline(SpaceTransformer(), LogisticRegression()),
        {"spacetransformer__space": ["default", space]},
        cv=2,
    )
    assert search.fit(TEXTS, KINDS).best_score_ > 0.7
    assert clone(SpaceTransformer(space)).fit(TEXTS).fingerprint_ == space.id.rpartition("@")[2]


def test_a_fitted_pipeline_is_pickled_and_refuses_another_space_of_its_name(space, tmp_path):
    folder = tmp_path / "space"
    space.save(folder)
    pipeline = make_pipeline(SpaceTransformer(str(folder)), LogisticRegression()).fit(TEXTS, KINDS)
    again = pickle.loads(pickle.dumps(pipeline))
    assert again.predict(["a goat"]).tolist() == ["animal"]
    folder.rename(tmp_path / "old")
    save_twin(folder)
    from mmencode_adapters.spaces import shared

    shared.clear()
    with pytest.raises(SpaceMismatchError, match="twin@"):
        pickle.loads(pickle.dumps(pipeline)).predict(["a goat"])


def test_an_item_that_cannot_be_encoded_is_a_value_error_with_its_index():
    with pytest.raises(InputError) as caught:
        SpaceTransformer().fit_transform(["a cat", " "])
    assert caught.value.index == 1
    for wrong in ("a cat", b"bytes"):
        with pytest.raises(TypeError, match="list"):
            SpaceTransformer().fit(wrong)


PICTURES = [data.chelsea(), data.coffee(), data.rocket()]
NAMES = ["cat", "coffee", "rocket"]


def test_classes_are_told_by_their_words_without_an_example(space):
    classifier = ZeroShotClassifier().fit(PICTURES, NAMES)
    assert classifier.predict(PICTURES).tolist() == NAMES
    assert classifier.score(PICTURES, NAMES) == 1
    scores = space.classifier(NAMES).classify("image", PICTURES).scores
    np.testing.assert_allclose(classifier.decision_function(PICTURES), scores, atol=1e-6)


def test_numbers_are_told_by_the_words_given_for_them(space):
    words = {7: "a cat", 9: "a rocket"}
    classifier = ZeroShotClassifier(words=words).fit(PICTURES[::2], [7, 9])
    assert classifier.predict(space.encode("image", PICTURES[::2])).tolist() == [7, 9]
    assert classifier.decision_function(PICTURES[::2]).shape == (2,)


def test_words_and_templates_are_searched_over_and_the_best_one_is_pickled():
    search = GridSearchCV(
        ZeroShotClassifier(modality="text", examples="blend"),
        {
            "templates": [None, ["{label}"], ["this is one kind of {label}"]],
            "examples": ["", "blend", "mean"],
        },
        cv=3,
        error_score="raise",
    ).fit(TEXTS, KINDS)
    assert search.best_score_ > 0.8
    assert pickle.loads(pickle.dumps(search.best_estimator_)).predict(["a pony"]).tolist() == ["animal"]


def test_a_classifier_refuses_vectors_of_another_space(tmp_path):
    classifier = ZeroShotClassifier(modality="text").fit(TEXTS, KINDS)
    with (
        mmencode.load(save_twin(tmp_path / "twin")) as twin,
        pytest.raises(SpaceMismatchError, match="twin@"),
    ):
        classifier.predict(twin.encode("text", ["a cat"]))
