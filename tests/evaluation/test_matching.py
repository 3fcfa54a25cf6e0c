"""Retrieval, measured on fakes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from test_roles import RUNTIME, spec

from mmencode import Space, similarity
from mmencode.errors import InputError
from mmencode.evaluation import LeftOut, Origin, Sampling, retrieval
from mmencode.testing import sample_items

QUICK = Sampling(resamples=100)


@pytest.fixture
def images():
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (8, 8, 3), np.uint8) for _ in range(12)]


@pytest.fixture
def pairs(images):
    """Two captions for each of twelve images, one of which two images share."""
    named = [(image, f"{number} {kind}") for number, image in enumerate(images) for kind in ("cat", "pet")]
    return [(image, "both" if caption in ("0 cat", "1 cat") else caption) for image, caption in named]


@pytest.fixture
def origin():
    return Origin(keys=tuple(f"{number}.png" for number in range(12) for _ in range(2)))


def reference(scores, right):
    """Of each row: the rank of the first right answer, and the average precision, by sorting."""
    ranks, precisions = [], []
    for line, mask in zip(scores, right, strict=True):
        hits = mask[np.argsort(-line)]
        places = np.flatnonzero(hits) + 1
        ranks.append(places[0])
        precisions.append(np.mean(np.arange(1, len(places) + 1) / places))
    return np.array(ranks), np.array(precisions)


def test_figures_are_those_of_sorting_both_ways(space, images, pairs, origin):
    found = retrieval(space, pairs, sampling=QUICK, origin=origin)
    captions = list(dict.fromkeys(caption for _, caption in pairs))
    assert dict(found.counts) == {"pairs": 24, "items": 12, "captions": 23}
    scores = similarity(space.encode("image", images), space.encode("text", captions))
    right = np.zeros((12, 23), bool)
    for place, (_, caption) in enumerate(pairs):
        right[place // 2, captions.index(caption)] = True
    for of, matrix, mask in (("image to text", scores, right), ("text to image", scores.T, right.T)):
        ranks, precisions = reference(matrix, mask)
        for k in (1, 5, 10):
            assert found.figure(f"recall@{k}", of).value == pytest.approx((ranks <= k).mean())
        assert found.figure("mean rank", of).value == pytest.approx(ranks.mean())
        assert found.figure("median rank", of).value == pytest.approx(np.median(ranks))
        assert found.figure("mAP", of).value == pytest.approx(precisions.mean())


def test_chance_counts_several_right_answers(space, pairs, origin):
    found = retrieval(space, pairs, sampling=QUICK, origin=origin)
    assert found.figure("recall@1", "image to text").chance == pytest.approx(2 / 23)
    assert found.figure("recall@1", "text to image").chance == pytest.approx((22 + 2) / 23 / 12)


def test_order_of_the_pairs_changes_nothing(space, pairs, origin):
    order = np.random.default_rng(1).permutation(24).tolist()
    moved = Origin(keys=tuple(origin.keys[place] for place in order))
    one = retrieval(space, pairs, sampling=QUICK, origin=origin)
    other = retrieval(space, [pairs[place] for place in order], sampling=QUICK, origin=moved)
    assert one.digest == other.digest
    for figure in one.figures:
        found = other.figure(figure.name, figure.of)
        assert (found.value, found.chance) == pytest.approx((figure.value, figure.chance))
        assert found.interval == pytest.approx(figure.interval)


def test_equal_texts_find_themselves(space):
    words = [(f"a {word}", f"a {word}") for word in ("cat", "dog", "house", "tree")]
    found = retrieval(space, words, modality="text", sampling=QUICK)
    assert found.figure("recall@1", "text to text").value == 1
    assert found.figure("mAP", "text to text").value == 1


def test_path_that_stands_there_twice_is_one_item(space, tmp_path):
    from PIL import Image

    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8), (len(name), 0, ord(name[0]))).save(tmp_path / name)
    paths = [tmp_path / "a.png", str(tmp_path / "a.png"), tmp_path / "b.png"]
    found = retrieval(space, list(zip(paths, ("x", "y", "z"), strict=True)), sampling=QUICK)
    assert found.counts["items"] == 2


def test_pair_that_stands_there_twice_counts_once_and_is_said(space, pairs, origin):
    twice = Origin(keys=(*origin.keys, origin.keys[0]))
    found = retrieval(space, [*pairs, pairs[0]], sampling=QUICK, origin=twice)
    assert found.counts["pairs"] == 24
    assert found.left_out == (LeftOut("0.png: both", "an earlier pair is the same"),)


def test_bad_items_and_blank_captions_are_left_out_with_reasons_and_nothing_shifts(space, pairs, origin):
    good = retrieval(space, pairs, sampling=QUICK, origin=origin)
    keys = Origin(keys=("bad.png", *origin.keys, "0.png", "12.png"))
    found = retrieval(
        space,
        [(b"no image", "lost"), *pairs, (pairs[0][0], " "), (pairs[1][0], "\t")],
        sampling=QUICK,
        origin=keys,
    )
    assert found.figures == good.figures
    assert found.digest == good.digest
    assert [row.source for row in found.left_out] == ["bad.png", " ", "\t", "12.png", "lost"]
    assert found.left_out[1].reason == "the text is blank"
    assert {row.reason for row in found.left_out[3:]} == {"all its partners are left out"}


def test_sample_takes_items_with_all_their_captions(space, pairs, origin):
    found = retrieval(space, pairs, sampling=replace(QUICK, sample=6), origin=origin)
    assert found.counts["items"] == 6
    assert found.counts["pairs"] == 12


def test_usual_depths_that_are_too_large_are_left_out_and_said(space, pairs, origin):
    found = retrieval(space, pairs[:8], sampling=QUICK, origin=Origin(keys=origin.keys[:8]))
    assert [figure.name for figure in found.figures[:2]] == ["recall@1", "mAP"]
    assert found.notes == ("k = 5, 10 left out: there are 4 candidates",)


def test_k_larger_than_the_candidates_is_refused_before_anything_is_encoded(
    space, pairs, origin, monkeypatch
):
    monkeypatch.setattr(space, "encode", None)
    with pytest.raises(InputError, match="k is 13, and there are 12 candidates"):
        retrieval(space, pairs, k=[13], origin=origin)


def test_all_candidates_hold_a_right_answer(space, pairs, origin):
    found = retrieval(space, pairs, k=[12], sampling=QUICK, origin=origin)
    assert found.figure("recall@12", "text to image").value == pytest.approx(1)


@pytest.mark.parametrize("pair", ["ab", ("a.png",), ("a.png", 3), ("a.png", "b", "c"), 7])
def test_what_is_no_pair_is_refused(space, pair):
    with pytest.raises(InputError, match="the pair isn't an item and a text") as caught:
        retrieval(space, [("a.png", "b"), pair])
    assert caught.value.index == 1


@pytest.mark.parametrize("pairs", [[], [("missing.png", "a")], [(b"bad", "a"), ("missing.png", "b")]])
def test_no_valid_pair_is_refused(space, pairs):
    with pytest.raises(InputError, match=r"none of \d items can be measured"):
        retrieval(space, pairs)


def test_sounds_are_measured_too(space):
    sounds = sample_items("audio", 3)
    found = retrieval(space, list(zip(sounds, "abc", strict=True)), modality="audio", sampling=QUICK)
    assert found.figure("recall@1", "text to audio").chance == pytest.approx(1 / 3)


def test_report_comes_back_from_json_as_it_is_and_shows_both_ways(space, pairs, origin):
    found = retrieval(space, pairs, sampling=QUICK, origin=origin)
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
    for said in (str(found), found.to_markdown()):
        assert "image to text recall@1" in said
        assert "text to image median rank" in said


def test_what_asks_is_encoded_as_queries_and_what_is_found_as_documents():
    names = [
        f"a {colour} {thing}"
        for colour in ("red", "old", "blue")
        for thing in ("car", "dog", "bridge", "tree")
    ]
    words = [(name[::-1], name) for name in names]
    with Space("two", [spec(), spec("query")], runtime=RUNTIME) as two:
        found = retrieval(two, words, modality="text", sampling=QUICK)
        kept = two.encode("text", [item for item, _ in words])
        asked = {role: two.encode("text", names, role=role) for role in ("query", "document")}
    ranks = {
        role: reference(similarity(rows, kept), np.eye(12, dtype=bool))[0] for role, rows in asked.items()
    }
    assert ranks["query"].mean() != ranks["document"].mean()
    assert found.figure("mean rank", "text to text").value == pytest.approx(ranks["query"].mean())
