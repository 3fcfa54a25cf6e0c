"""Labels that can't be told apart are refused, by name and by vector, unless they are meant."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest

from mmencode.embeddings.embeddings import Embeddings
from mmencode.errors import LabelError
from mmencode.spaces.space import Space
from mmencode.testing import FakeText, fake_specs, sample_items
from mmencode.zeroshot import describe_labels
from mmencode.zeroshot.heads import find_equal_firsts, find_twins


@pytest.fixture
def english(monkeypatch):
    """A space whose text encoder knows ASCII only and no more than twelve characters of it."""
    real = FakeText.preprocess

    def preprocess(self, item):
        return real(self, item.encode("ascii", "replace").decode()[:12])

    monkeypatch.setattr(FakeText, "preprocess", preprocess)
    with Space("fake", fake_specs()) as space:
        yield space


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        (["cat", "猫", "dog", "狗"], ["猫", "狗"]),
        (
            ["cat", "a long label, first", "a long label, second"],
            ["a long label, first", "a long label, second"],
        ),
        (["ä", "ö", "ü", "cat"], ["ä", "ö", "ü"]),
    ],
)
def test_labels_that_are_one_vector_are_refused_and_named(english, labels, named):
    classifier = english.classifier(labels)
    with pytest.raises(LabelError, match=f"{len(named)} labels have one vector") as raised:
        classifier.classify("image", sample_items("image", 2))
    assert all(repr(name) in raised.value.fact for name in named)
    assert repr("cat") not in raised.value.fact
    assert 'duplicates="keep"' in raised.value.remedy


def test_the_null_class_is_one_of_those_that_are_told_apart(english):
    with pytest.raises(LabelError, match="'猫', 'the null class'"):
        english.classifier(["cat", "猫"], null=["狗"]).classify("text", ["cat"])


def test_examples_of_two_labels_that_are_one_picture_are_refused(space):
    picture, other = sample_items("image", 2)
    with pytest.raises(LabelError, match=r"2 labels have one vector.*'a', 'c'"):
        space.classifier({"a": [picture], "b": [other], "c": [picture]}, by="image").classify("text", ["x"])


def test_labels_that_only_their_examples_tell_apart_are_taken_by_them(english):
    classifier = english.classifier(["猫", "狗"]).with_examples("text", ["cat", "dog"], ["猫", "狗"], "mean")
    assert classifier.classify("text", ["dog", "cat"]).best == ["狗", "猫"]
    blended = english.classifier(["猫", "狗"]).with_examples("text", ["cat", "dog"], ["猫", "狗"])
    assert blended.classify("text", ["dog", "cat"]).best == ["狗", "猫"]


def test_labels_without_examples_that_are_one_vector_are_refused_in_a_blend(english):
    with pytest.raises(LabelError, match="2 labels have one vector"):
        english.classifier(["cat", "猫", "狗"]).with_examples("text", ["cat"], ["cat"])


def test_labels_that_are_meant_to_be_the_same_are_kept_and_the_first_comes_first(english):
    labels = ["dog", "猫", "狗", "maillot", "maillot", "cat"]
    found = english.classifier(labels, duplicates="keep").classify("text", ["???", "?", "maillot"])
    assert found.scores.shape == (3, 6)
    assert found.best == ["猫", "猫", "maillot"]
    assert [label for label, _ in found.top(2)[0]] == ["猫", "狗"]
    assert (found.scores[:, 1] == found.scores[:, 2]).all()
    assert (found.scores[:, 3] == found.scores[:, 4]).all()


@pytest.mark.parametrize("labels", [["cat", "cat"], ["cat", " CAT"], {"cat": ["a"], "puss": ["a"]}])
def test_refusals_by_name_say_how_to_keep_them(labels):
    with pytest.raises(LabelError, match=r"duplicates=.keep. \(--duplicates keep on the command line\)"):
        describe_labels(labels)
    assert describe_labels(labels, duplicates="keep").names == tuple(labels)


def test_the_published_names_of_imagenet_are_taken_as_they_are():
    names = open_clip.IMAGENET_CLASSNAMES
    with pytest.raises(LabelError, match="is there twice"):
        describe_labels(names)
    assert describe_labels(names, duplicates="keep").names == tuple(names)


def test_another_word_for_duplicates_is_refused():
    with pytest.raises(ValueError, match="duplicates is 'yes': make it one of refuse, keep"):
        describe_labels(["cat"], duplicates="yes")


def test_examples_of_a_name_that_two_labels_have_are_refused(space):
    classifier = space.classifier(["cat", "cat", "dog"], duplicates="keep")
    with pytest.raises(LabelError, match="'cat' is the name of 2 labels"):
        classifier.with_examples("text", ["a", "b"], ["cat", "dog"])


@pytest.mark.parametrize("count", [2, 50, 1000])
def test_rows_that_differ_by_rounding_are_found_wherever_they_stand(count):
    random = np.random.default_rng(count)
    rows = random.normal(size=(count, 64)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert not len(find_twins(rows))
    first, second = sorted(random.choice(count, 2, replace=False).tolist())
    rows[second] = rows[first] + np.float32(1e-7)
    assert find_twins(rows).tolist() == [first, second]


def test_rows_that_lie_near_but_apart_are_no_twins():
    rows = np.tile(np.eye(1, 64, dtype=np.float32), (300, 1))
    rows[:, 1] = np.arange(300) * 1e-3
    assert not len(find_twins(rows / np.linalg.norm(rows, axis=1, keepdims=True)))


def test_equal_rows_have_the_place_of_the_first():
    assert find_equal_firsts(np.eye(3)[[0, 1, 0, 2, 1]]).tolist() == [0, 1, 0, 3, 1]
    assert find_equal_firsts(np.eye(3)) is None


def test_what_is_not_of_unit_length_is_not_ranked(space):
    classifier = space.classifier(["cat", "dog"])
    sound = space.encode("text", ["cat", "dog", "bird"])
    for count in (1, 3):
        longer = Embeddings(sound.vectors[:count] * 2, space=space.id, modality="text")
        with pytest.raises(ValueError, match="row 0 has length 2"):
            classifier.rank(longer)
