"""Zero-shot classification, measured on fakes, against scikit-learn on the same scores."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, top_k_accuracy_score

from mmencode import similarity
from mmencode.errors import InputError, LabelError
from mmencode.evaluation import LeftOut, Origin, Sampling, read_labelled_folder, retrieval, zero_shot
from mmencode.testing import sample_items

QUICK = Sampling(resamples=100)
NAMES = ("bird", "car", "dog", "house", "lamp", "tree")


@pytest.fixture
def items():
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (8, 8, 3), np.uint8) for _ in range(40)]


@pytest.fixture
def labels():
    return [
        NAMES[number] for number in np.random.default_rng(1).choice(6, 40, p=(0.4, 0.3, 0.1, 0.1, 0.05, 0.05))
    ]


def test_figures_are_those_of_scikit_learn_on_the_same_scores(space, items, labels):
    found = zero_shot(space, "image", items, labels, k=(1, 2, 5), sampling=QUICK)
    scores = similarity(space.encode("image", items), space.encode("text", list(NAMES)))
    truth = np.array([NAMES.index(label) for label in labels])
    for k in (1, 2, 5):
        expected = top_k_accuracy_score(truth, scores, k=k, labels=np.arange(6))
        assert found.figure(f"top-{k}").value == pytest.approx(expected, abs=1e-9)
    best = scores.argmax(axis=1)
    assert found.figure("mean per class").value == pytest.approx(
        balanced_accuracy_score(truth, best), abs=1e-9
    )
    matrix = confusion_matrix(truth, best)
    for one in found.confusions:
        assert matrix[NAMES.index(one.label), NAMES.index(one.taken_for)] == one.count
    assert sum(one.count for one in found.confusions) == matrix.sum() - matrix.trace()
    counts = {one.label: one.count for one in found.classes}
    assert counts == {name: labels.count(name) for name in set(labels)}
    assert found.classes[0].top1 == pytest.approx(matrix[0, 0] / matrix[0].sum())


def test_chance_is_a_blind_guess_and_the_constant_knows_the_frequencies(space, items, labels):
    found = zero_shot(space, "image", items, labels, sampling=QUICK)
    top1, top5, mean = found.figures
    counts = sorted((labels.count(name) / 40 for name in NAMES), reverse=True)
    assert (top1.chance, top5.chance, mean.chance) == pytest.approx((1 / 6, 5 / 6, 1 / 6))
    assert (top1.constant, top5.constant) == pytest.approx((counts[0], sum(counts[:5])))
    assert mean.constant == pytest.approx(1 / len(set(labels)))
    assert top1.interval[0] <= top1.value <= top1.interval[1]


def test_order_of_the_items_changes_nothing(space, items, labels):
    keys = tuple(f"{place}.png" for place in range(40))
    order = np.random.default_rng(2).permutation(40).tolist()
    one = zero_shot(space, "image", items, labels, sampling=QUICK, origin=Origin(keys=keys))
    other = zero_shot(
        space,
        "image",
        [items[place] for place in order],
        [labels[place] for place in order],
        sampling=QUICK,
        origin=Origin(keys=tuple(keys[place] for place in order)),
    )
    assert one == other


def test_all_labels_hold_the_right_one(space, items, labels):
    assert zero_shot(space, "image", items, labels, k=[6], sampling=QUICK).figure("top-6").value == 1


def test_bad_items_are_left_out_with_reasons_and_nothing_shifts(space, items, labels):
    good = zero_shot(space, "image", items, labels, sampling=QUICK)
    mixed = [b"no image", *items[:20], "missing.png", *items[20:]]
    words = ["bird", *labels[:20], "car", *labels[20:]]
    found = zero_shot(space, "image", mixed, words, sampling=QUICK)
    assert found.figures == good.figures
    assert found.classes == good.classes
    assert found.counts["items"] == 40
    assert [row.source for row in found.left_out][1] == "missing.png"
    assert found.left_out[0].source.startswith("sha256:")
    assert all(row.reason for row in found.left_out)


def test_class_whose_items_are_all_bad_stays_a_candidate_and_is_said(space, items, labels):
    found = zero_shot(space, "image", [*items, b""], [*labels, "zebra"], sampling=QUICK)
    assert found.counts["classes"] == 7
    assert found.figure("top-1").chance == pytest.approx(1 / 7)
    assert found.notes == ("1 class is a candidate without a measured item",)
    assert "zebra" not in [one.label for one in found.classes]


def test_sample_is_drawn_and_all_classes_stay_candidates(space, items, labels):
    found = zero_shot(space, "image", items, labels, sampling=replace(QUICK, sample=10, seed=3))
    assert (found.counts["items"], found.counts["classes"]) == (10, 6)
    assert "sample of 10, seed 3" in str(found)
    again = zero_shot(space, "image", items, labels, sampling=replace(QUICK, sample=10, seed=3))
    other = zero_shot(space, "image", items, labels, sampling=replace(QUICK, sample=10, seed=4))
    assert found == again
    assert found.digest != other.digest


def test_digest_tells_the_same_data_from_other(space, photos, tmp_path):
    def digest(data, labels=None, classes=None):
        words = labels or data.labels
        found = zero_shot(
            space, "image", data.items, words, classes=classes, sampling=QUICK, origin=data.origin
        )
        return found.digest

    data = read_labelled_folder(photos)
    here = digest(data)
    assert digest(read_labelled_folder(photos.rename(tmp_path / "elsewhere"))) == here
    data = read_labelled_folder(tmp_path / "elsewhere")
    assert digest(data, labels=("n01", *data.labels[1:])) != here
    assert digest(data, classes=[*set(data.labels), "zebra"]) != here
    (tmp_path / "elsewhere" / "n01" / "1.png").unlink()
    assert digest(read_labelled_folder(tmp_path / "elsewhere")) != here


def test_usual_depths_that_are_too_large_are_left_out_and_said(space, items):
    found = zero_shot(space, "image", items, ["a", "b"] * 20, sampling=QUICK)
    assert [figure.name for figure in found.figures] == ["top-1", "mean per class"]
    assert found.notes == ("k = 5 left out: there are 2 classes",)


def test_k_larger_than_the_classes_is_refused(space, items, labels):
    with pytest.raises(InputError, match="k is 7, and there are 6 classes"):
        zero_shot(space, "image", items, labels, k=[7])


@pytest.mark.parametrize("k", [0, -1, True, 1.5])
def test_k_that_is_no_count_is_refused(space, items, labels, k):
    with pytest.raises(ValueError, match="make it a positive int"):
        zero_shot(space, "image", items, labels, k=[k])


def test_one_class_only_is_refused(space, items):
    with pytest.raises(InputError, match="there is one class, 'cat'"):
        zero_shot(space, "image", items, ["cat"] * 40)


def test_no_items_are_refused(space):
    with pytest.raises(InputError, match="there are no items"):
        zero_shot(space, "image", [], [])


def test_only_bad_items_are_refused_with_the_first_reason(space):
    with pytest.raises(InputError, match=r"none of 2 items can be measured; the first: a\.png, "):
        zero_shot(space, "image", ["a.png", "b.png"], ["a", "b"])


def test_label_that_is_no_class_is_refused(space, items, labels):
    with pytest.raises(InputError, match="the label 'tree' is none of the 5 classes") as caught:
        zero_shot(space, "image", items, [*labels[:-1], "tree"], classes=NAMES[:-1])
    assert "remedy" in str(caught.value)


def test_lists_of_two_lengths_are_refused(space, items, labels):
    with pytest.raises(ValueError, match="40 items have 39 labels"):
        zero_shot(space, "image", items, labels[:-1])
    with pytest.raises(ValueError, match="40 items have 1 keys"):
        zero_shot(space, "image", items, labels, origin=Origin(keys=("a",)))


def test_one_measured_item_has_no_interval(space, items):
    found = zero_shot(space, "image", [items[0], b""], ["a", "b"])
    assert [figure.interval for figure in found.figures] == [None, None]
    assert "top-1" in str(found)


def test_other_modalities_and_templates_are_measured(space):
    sounds = zero_shot(space, "audio", sample_items("audio", 4), list("abab"), sampling=QUICK)
    assert sounds.modalities == ("audio", "text")
    texts = zero_shot(space, "text", ["x", "y"], ["x", "y"], templates=["{label}"], sampling=QUICK)
    assert texts.figure("top-1").value == 1
    assert texts.templates == ("{label}",)


def test_report_says_the_card_and_comes_back_from_json_as_it_is(space, items, labels):
    found = zero_shot(space, "image", items, labels, sampling=QUICK, origin=Origin(source="mine"))
    plain = found.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["space"]["id"] == space.id
    assert plain["space"]["fingerprint"] == space.card.fingerprint
    assert plain["space"]["towers"].keys() == {"image", "text"}
    assert plain["data"] == {"source": "mine", "items": 40, "classes": 6, "digest": found.digest}
    assert plain["sampling"] == {"sample": None, "seed": 0, "resamples": 100}
    said = str(found)
    assert space.id in said
    assert "data: mine" in said


def test_names_are_no_marks_of_the_page_and_no_escapes_of_the_terminal(space, items):
    labels = ["a|b*", "<script>", "line\nend", "\x1b[31m"] * 10
    found = zero_shot(space, "image", items, labels, sampling=QUICK)
    found = replace(found, left_out=(LeftOut("bad\udcff|.png", "it is bad"),))
    page = found.to_markdown()
    assert "a\\|b\\*" in page
    assert "<script>" not in page
    assert "line\\\\nend" in page
    assert "\x1b" not in page + str(found)
    page.encode()
    str(found).encode()


def test_page_lists_every_class_and_the_text_the_ten_weakest(space, items):
    labels = [f"class {place % 20:02}" for place in range(40)]
    found = zero_shot(space, "image", items, labels, sampling=QUICK)
    assert found.to_markdown().count("| class ") >= 20
    assert "Classes, the weakest first, 10 of 20" in str(found)


def test_figure_that_is_not_there_is_said_with_those_that_are(space, items, labels):
    with pytest.raises(KeyError, match="top-1"):
        zero_shot(space, "image", items, labels, sampling=QUICK).figure("recall@1")


def test_labels_may_be_places_in_the_classes(space):
    names, items = ["zebra", "ant", "moth"], ["moth", "zebra", "ant"]
    by_name = zero_shot(space, "text", items, items, classes=names)
    for places in ([2, 0, 1], np.array([2, 0, 1]), [np.int64(2), np.int64(0), np.int64(1)]):
        report = zero_shot(space, "text", items, places, classes=names)
        assert report.figures == by_name.figures
        assert report.digest == by_name.digest
        assert [found.label for found in report.classes] == names


@pytest.mark.parametrize("place", [3, -1])
def test_a_place_that_no_class_has_is_refused(space, place):
    with pytest.raises(InputError, match=f"the label {place} is no place among 3 classes"):
        zero_shot(space, "text", ["a", "b"], [0, place], classes=["a", "b", "c"])


def test_classes_that_stand_there_twice_are_refused_with_the_way_to_keep_them(space):
    with pytest.raises(InputError, match="the class 'cat' is there twice") as raised:
        zero_shot(space, "text", ["cat"], ["cat"], classes=["cat", "dog", "cat"])
    assert 'duplicates="keep"' in raised.value.remedy
    with pytest.raises(LabelError, match="'cat' is there twice"):
        zero_shot(space, "text", ["cat"], [0], classes=["cat", "dog", "cat"])


def test_two_classes_of_one_name_stay_two_candidates_of_which_one_is_right(space):
    items, places = ["cat", "cat", "dog"], [0, 2, 1]
    report = zero_shot(
        space, "text", items, places, classes=["cat", "dog", "cat"], duplicates="keep", k=[1, 2]
    )
    assert report.counts["classes"] == 3
    assert report.figure("top-1").value == pytest.approx(2 / 3)  # equal scores: halves, both times
    assert report.figure("top-2").value == 1
    assert [(found.label, found.count) for found in report.classes] == [("cat", 1), ("dog", 1), ("cat", 1)]


def test_tables_sets_and_generators_are_no_labels_and_no_classes(space):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"file": ["a", "b"], "kind": ["cat", "dog"]})
    for labels, classes in (
        (frame, None),
        (["cat", "dog"], frame),
        ({"cat", "dog"}, None),
        (iter("ab"), None),
    ):
        with pytest.raises(TypeError, match="must be a list"):
            zero_shot(space, "text", ["cat", "dog"], labels, classes=classes)
    report = zero_shot(space, "text", ["cat", "dog"], frame["kind"])
    assert report.figure("top-1").value == 1
    with pytest.raises(TypeError, match=r"pairs must be a list of .item, caption. tuples.*table\['kind'\]"):
        retrieval(space, frame)
