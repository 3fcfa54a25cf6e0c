"""Rerankers of a search by words: any callable orders the hits, or a space of late interaction does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import mmencode
from mmencode import Runtime, Space
from mmencode.errors import EncoderError, InputError, LabelError
from mmencode.index import MaxSimReranker
from mmencode.testing import fake_multi_specs

TEXTS = ["a red car", "a red car by the old bridge", "two dogs", "the red house"]


@pytest.fixture
def notes(index):
    index.add("text", TEXTS, keys=list("abcd"), keep_text=True)
    index.build_full_text()
    return index


@pytest.fixture
def late():
    with Space("late", fake_multi_specs("late"), runtime=Runtime("cpu")) as space:
        yield space


def by_length(words, hits):
    return [len(hit.metadata["text"]) for hit in hits]


def test_a_callable_orders_the_hits_by_its_scores_and_keeps_what_they_were(notes):
    (plain,) = notes.search_hybrid(["red"])
    (found,) = notes.search_hybrid(["red"], rerank=by_length)
    assert [hit.key for hit in found] == ["b", "d", "a", "c"]
    assert [hit.reranked for hit in found] == [27.0, 13.0, 9.0, 8.0]
    assert {(hit.key, hit.fused, hit.score) for hit in found} == {
        (hit.key, hit.fused, hit.score) for hit in plain
    }
    assert [hit.key for hit in notes.search_text(["red"], 2, rerank=by_length)[0]] == ["b", "d"]


def test_a_reranker_gets_the_words_and_the_best_hits_of_each_query(notes):
    asked = []

    def note(words, hits):
        asked.append((words, [hit.key for hit in hits]))
        return np.zeros(len(hits))

    plain = notes.search_hybrid(["red", "dogs"], 1, depth=2)
    assert notes.search_hybrid(["red", "dogs"], 2, depth=2, rerank=note)[0][0].key == plain[0][0].key
    assert [words for words, _ in asked] == ["red", "dogs"]
    assert [len(hits) for _, hits in asked] == [2, 2]
    asked.clear()
    assert notes.search_text(["submarine"], rerank=note) == [[]]
    assert asked == []  # nothing to rank, so nothing is asked


@pytest.mark.parametrize(
    "kind",
    [list, tuple, np.array, torch.tensor, lambda scores: iter(scores), lambda scores: map(str, scores)],
)
def test_scores_may_be_any_list_of_numbers(notes, kind):
    (found,) = notes.search_text(["red"], rerank=lambda words, hits: kind(by_length(words, hits)))
    assert [hit.key for hit in found] == ["b", "d", "a"]


def fail(words, hits):
    raise RuntimeError("out of\x1b luck")


@pytest.mark.parametrize(
    ("reranker", "said"),
    [
        (fail, r"the reranker fail failed on 'red': RuntimeError: out of\\x1b luck"),
        (lambda words, hits: [1.0], "gave 1 scores for 3 rows"),
        (lambda words, hits: [float("nan")] * len(hits), "gave '.' the score nan"),
        (lambda words, hits: [float("inf")] * len(hits), "gave '.' the score inf"),
        (lambda words, hits: None, "gave no scores for 'red': TypeError"),
        (lambda words, hits: ["x"] * len(hits), "gave no scores for 'red': ValueError"),
        (lambda words, hits: np.zeros((len(hits), 2)), "gave no scores for 'red': TypeError"),
        (lambda words: [], "failed on 'red': TypeError"),
        ("no callable", "the reranker str failed on 'red': TypeError"),
    ],
)
def test_a_reranker_that_fails_is_named_and_nothing_is_ranked_by_it(notes, reranker, said):
    for search in (notes.search_text, notes.search_hybrid):
        if "3 rows" in said and search == notes.search_hybrid:
            said = "gave 1 scores for 4 rows"
        with pytest.raises(EncoderError, match=said):
            search(["red"], rerank=reranker)


def test_errors_of_mmencodes_own_pass_a_reranker_as_they_are(notes):
    def refuse(words, hits):
        raise LabelError("no labels")

    with pytest.raises(LabelError, match="no labels"):
        notes.search_text(["red"], rerank=refuse)


def test_late_interaction_ranks_by_the_maxsim_of_the_kept_texts(notes, late):
    (found,) = notes.search_hybrid(["red house"], rerank=MaxSimReranker(late))
    query = late.encode_multi("text", ["red house"], role="query")
    scores = mmencode.similarity(query, late.encode_multi("text", TEXTS, role="document"))[0]
    expected = dict(zip("abcd", scores.tolist(), strict=True))
    assert {hit.key: hit.reranked for hit in found} == pytest.approx(expected)
    assert [hit.key for hit in found] == sorted(expected, key=lambda key: -expected[key])


def test_late_interaction_reads_the_key_of_rows_without_a_kept_text_and_files_of_other_modalities(
    index, tmp_path
):
    for shade in (0, 200):
        Image.new("RGB", (8, 8), (shade, 0, 0)).save(tmp_path / f"{shade}.png")
    files = [str(tmp_path / f"{shade}.png") for shade in (0, 200)]
    index.add("image", files)
    index.add("text", ["a png"])
    index.build_full_text("key")
    specs = fake_multi_specs("late")
    with Space("late", specs, runtime=Runtime("cpu")) as late:
        if "image" not in late.modalities:
            pytest.fail("the fakes of late interaction have no images any more: choose others")
        reranker = MaxSimReranker(late)
        (found,) = index.search_text(["png"], rerank=reranker)
        assert {hit.key for hit in found} == {*files, "a png"}
        query = late.encode_multi("text", ["png"], role="query")
        expected = {
            key: float(mmencode.similarity(query, late.encode_multi(modality, [key], role="document"))[0, 0])
            for modality, key in (("image", files[0]), ("image", files[1]), ("text", "a png"))
        }
        assert {hit.key: hit.reranked for hit in found} == pytest.approx(expected)
        (tmp_path / "200.png").unlink()
        with pytest.raises(InputError, match=r"the row '.*200\.png'"):
            index.search_text(["png"], rerank=reranker)


def test_a_space_of_single_vectors_is_no_late_interaction(space, late):
    with pytest.raises(ValueError, match="have one vector each, and MaxSim compares many"):
        MaxSimReranker(space)
    assert repr(MaxSimReranker(late)) == f"<MaxSimReranker by {late.id}>"
