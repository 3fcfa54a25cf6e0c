"""`mmencode search --hybrid` and `mmencode index full-text`: what they find, print and refuse."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import mmencode
from mmencode.testing import fake_multi_specs, fake_specs

pytest.importorskip("lancedb", reason="an index is on LanceDB: pip install 'mmencode[index]'")

TEXTS = ["a red car", "invoice 4711", "two dogs", "an old bridge"]


@pytest.fixture
def notes(run, tmp_path):
    with mmencode.Index.create(tmp_path / "notes", "fake") as index:
        index.add("text", TEXTS, keys=list("abcd"), metadata=[{"n": n} for n in range(4)], keep_text=True)
    return tmp_path / "notes"


@pytest.fixture
def ready(run, notes):
    run("index", "full-text", notes)
    return notes


def test_full_text_is_made_shown_and_changed(run, run_json, notes):
    assert run_json("index", "info", notes)["full_text"] == {}
    lines = run("index", "full-text", notes).stdout.splitlines()
    assert lines == ["column\tfound by", "text\twords"]
    found = run_json(
        "index", "full-text", notes, "--column", "text", "--column", "key", "--language", "german"
    )
    assert found["full_text"] == dict.fromkeys(("key", "text"), "words, by the rules of German")
    run("index", "full-text", notes, "--characters", 2)
    shown = run("index", "info", notes).stdout
    assert "full text\tkey: words, by the rules of German; text: pieces of 2 characters" in shown


def test_hybrid_search_gives_what_the_library_gives(run_json, ready):
    document = run_json("search", ready, "invoice 4711", "--hybrid", "-k", 3)
    with mmencode.Index.open(ready) as index:
        (hits,) = index.search_hybrid(["invoice 4711"], 3)
    assert document["searched"] == 4
    for match, hit in zip(document["matches"], hits, strict=True):
        assert match == {
            "item": hit.key,
            "modality": "text",
            "score": hit.score,
            "metadata": dict(hit.metadata),
            "fused": hit.fused,
            "vector_rank": hit.vector_rank,
            "text_rank": hit.text_rank,
            "bm25": hit.bm25,
            "reranked": None,
        }
    plain = run_json("search", ready, "invoice 4711", "-k", 1)
    assert set(plain["matches"][0]) == {"item", "modality", "score", "metadata"}


def test_the_table_shows_both_ranks_beside_the_score(run, ready):
    first, best, *_ = run("search", ready, "invoice 4711", "--hybrid").stdout.splitlines()
    assert first.split("\t") == ["rank", "score", "by vectors", "by words", "file", "n", "text"]
    assert (best.split("\t")[3], best.split("\t")[4]) == ("1", "b")


def test_words_stand_beside_another_query_and_conditions_hold(run_json, ready, folder):
    options = ("--image", folder / "a.png", "--words", "bridge car")
    document = run_json("search", ready, *options)
    worded = {match["item"]: match["text_rank"] for match in document["matches"]}
    assert {key for key, rank in worded.items() if rank} == {"a", "d"}
    document = run_json("search", ready, *options, "--where", "n < 2", "--in", "text")
    assert {match["item"] for match in document["matches"]} == {"a", "b"}
    assert document["searched"] is None


def test_a_page_says_what_orders_the_matches(run, ready, tmp_path):
    run("search", ready, "4711", "--hybrid", "--html", tmp_path / "page.html")
    assert (
        "The order is by the sum of 1 / (60 + rank) over both rankings"
        in (tmp_path / "page.html").read_text()
    )


def test_a_space_of_late_interaction_ranks_again(run, run_json, ready, install):
    late = tuple(replace(spec, aliases=("late",)) for spec in fake_multi_specs("letters"))
    fakes = tuple(replace(spec, aliases=("default", "fake")) for spec in fake_specs())
    install(late=late, fakes=fakes)
    document = run_json("search", ready, "old bridge", "--hybrid", "--rerank", "late")
    scores = [match["reranked"] for match in document["matches"]]
    assert document["matches"][0]["item"] == "d"
    assert scores == sorted(scores, reverse=True)
    assert "have one vector each" in run("search", ready, "a", "--hybrid", "--rerank", "fake", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--hybrid",), "pass something to search for"),
        (("--rerank", "fake", "words"), "it is for --hybrid"),
        (("words", "--hybrid", "--where", "n <"), "--where"),
        (("words", "--hybrid", "--in", "smell"), "no rows of 'smell'"),
        (("x" * 100_001, "--hybrid"), "may have 100000"),
    ],
)
def test_usage_that_means_nothing_is_said(run, ready, arguments, said):
    result = run("search", ready, *arguments, code=1 if "--in" in arguments else 2)
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_an_index_without_full_text_and_a_folder_say_the_way_out(run, notes, folder):
    said = " ".join(run("search", notes, "a", "--hybrid", code=2).stderr.replace("│", " ").split())
    assert "mmencode index full-text INDEX" in said
    assert "is none" in run("search", folder, "a", "--hybrid", code=2).stderr
    said = run("index", "full-text", notes, "--column", "caption", code=2).stderr
    assert "no texts under 'caption'" in " ".join(said.replace("│", " ").split())
    assert "German" in run("index", "full-text", notes, "--language", "Germany", code=2).stderr
    run("index", "full-text", notes, "--characters", 9, code=2)
    run("index", "full-text", folder, code=1)


def test_an_example_alone_has_no_words_to_look_for(run, ready, folder):
    said = run("search", ready, "--image", folder / "a.png", "--hybrid", code=2).stderr
    assert "pass words to look for" in said


def test_output_is_one_json_document(run, ready):
    assert json.loads(run("search", ready, "🎉", "--hybrid", "--json").stdout)["matches"]
