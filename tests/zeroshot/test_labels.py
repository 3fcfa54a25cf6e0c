from __future__ import annotations

import open_clip
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmencode.errors import LabelError, UnknownNameError
from mmencode.zeroshot import describe_labels
from mmencode.zeroshot.labels import fold
from mmencode.zeroshot.templates import SETS, find_templates


def test_no_labels_are_refused():
    with pytest.raises(LabelError, match="one or more"):
        describe_labels([])


@pytest.mark.parametrize("other", ["Cat", "  cat", "CAT ", "cat\t", "ｃａｔ"])
def test_labels_equal_but_for_case_and_spaces_are_refused_and_both_named(other):
    with pytest.raises(LabelError) as raised:
        describe_labels(["dog", "cat", other])
    assert repr(other) in str(raised.value)
    assert "'cat'" in str(raised.value)
    assert "remedy" in str(raised.value)


def test_label_twice_is_refused():
    with pytest.raises(LabelError, match="'cat' is there twice"):
        describe_labels(["cat", "dog", "cat"])


@pytest.mark.parametrize("label", ["?", "...", "- -", "«»", "$+", "\u0301"])
def test_label_that_is_all_punctuation_is_refused(label):
    with pytest.raises(LabelError, match="nothing but punctuation"):
        describe_labels(["cat", label])


@pytest.mark.parametrize("label", ["C++", "猫", "7", "🙂", "ça"])
def test_label_with_a_letter_a_digit_or_a_picture_is_taken(label):
    assert describe_labels([label]).names == (label,)


def test_template_without_a_placeholder_is_refused():
    with pytest.raises(LabelError, match="'a photo of a cat' has no"):
        describe_labels(["cat"], ["{label}", "a photo of a cat"])


def test_template_twice_is_refused():
    with pytest.raises(LabelError, match="would count twice"):
        describe_labels(["cat"], ["a {label}", "a {label}"])


def test_no_templates_are_refused():
    with pytest.raises(LabelError, match="one or more"):
        describe_labels(["cat"], [])


@pytest.mark.parametrize("templates", [[1], [None, "{label}"]])
def test_templates_that_are_no_strings_are_refused(templates):
    with pytest.raises(TypeError, match="templates must be"):
        describe_labels(["cat"], templates)


def test_unknown_set_of_templates_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean openai") as raised:
        describe_labels(["cat"], "open-ai")
    assert all(name in str(raised.value) for name in SETS)


@pytest.mark.parametrize(
    ("name", "functions"),
    [("openai", open_clip.OPENAI_IMAGENET_TEMPLATES), ("simple", open_clip.SIMPLE_IMAGENET_TEMPLATES)],
)
def test_named_sets_make_the_prompts_of_open_clip(name, functions):
    prompts = describe_labels(["sea lion"], name).groups("unused")[0]
    assert prompts == [function("sea lion") for function in functions]


@pytest.mark.parametrize("name", SETS)
def test_find_templates_a_set_keep_the_rules_for_ones_own(name):
    assert find_templates(list(find_templates(name))) == find_templates(name)


def test_synonyms_for_a_label_that_is_not_there_are_refused_with_the_nearest():
    with pytest.raises(LabelError, match="none of the labels") as raised:
        describe_labels(["car", "cat"], synonyms={"cars": ["auto"]})
    assert "did you mean 'car'" in str(raised.value)


@pytest.mark.parametrize("words", [["Car"], ["auto", " AUTO"]])
def test_synonym_that_would_count_twice_is_refused(words):
    with pytest.raises(LabelError, match="would count twice"):
        describe_labels(["car"], synonyms={"car": words})


def test_synonym_that_is_all_punctuation_is_refused():
    with pytest.raises(LabelError, match="nothing but punctuation"):
        describe_labels(["car"], synonyms={"car": ["!"]})


def test_synonyms_of_a_label_must_be_a_list():
    with pytest.raises(TypeError, match="must be a list of strings"):
        describe_labels(["car"], synonyms={"car": "auto"})


@pytest.mark.parametrize(
    ("labels", "synonyms"),
    [
        ({"cat": ["a", "b"], "feline": ["B ", "A"]}, None),
        (["car", "auto"], {"car": ["auto"], "auto": ["car"]}),
    ],
)
def test_two_labels_with_the_same_prompts_are_refused(labels, synonyms):
    with pytest.raises(LabelError, match="have the same prompts"):
        describe_labels(labels, synonyms=synonyms)


def test_null_class_with_the_prompts_of_a_label_is_refused():
    with pytest.raises(LabelError, match="'cat' and 'the null class' have the same prompts"):
        describe_labels({"cat": ["a photo"]}, null=["A photo"])


@pytest.mark.parametrize("prompts", [[], ()])
def test_label_without_prompts_is_refused(prompts):
    with pytest.raises(LabelError, match="'cat' has no items"):
        describe_labels({"dog": ["barks"], "cat": prompts})


def test_blank_prompt_is_refused():
    with pytest.raises(LabelError, match="'cat' has a blank prompt"):
        describe_labels({"cat": ["purrs", "  "]})


@pytest.mark.parametrize("prompts", ["purrs", [1], None])
def test_prompts_of_a_label_must_be_a_list_of_strings(prompts):
    with pytest.raises(TypeError, match="'cat' must have"):
        describe_labels({"cat": prompts})


@pytest.mark.parametrize("options", [{"templates": "simple"}, {"synonyms": {"cat": ["kitten"]}}])
def test_whole_prompts_take_no_templates_and_no_synonyms(options):
    with pytest.raises(TypeError, match="for labels that are names"):
        describe_labels({"cat": ["purrs"]}, **options)


def test_names_alone_are_no_examples():
    with pytest.raises(TypeError, match="a mapping from each label"):
        describe_labels(["cat"], by="image")


def test_unknown_label_is_named_with_the_nearest():
    with pytest.raises(LabelError, match="'Cat ' is none of the labels") as raised:
        describe_labels(["cat", "dog"]).place("Cat ")
    assert "did you mean 'cat'" in str(raised.value)


@settings(deadline=None)
@given(st.lists(st.text("aA bB", min_size=1, max_size=4).filter(str.strip), min_size=1, max_size=6))
def test_labels_are_taken_exactly_when_they_differ_after_folding(labels):
    if len({fold(label) for label in labels}) == len(labels):
        assert describe_labels(labels).names == tuple(labels)
    else:
        with pytest.raises(LabelError):
            describe_labels(labels)
