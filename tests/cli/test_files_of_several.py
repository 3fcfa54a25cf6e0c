"""Commands that take files and folders take each item of a file that holds several."""

from __future__ import annotations

import json

import leaflets
import pytest

from mmencode import Embeddings


@pytest.fixture
def said(run, install):
    install(leaves=(leaflets.SPEC, *leaflets.SPECS))
    return lambda *arguments, **options: json.loads(run(*arguments, "--json", **options).stdout)


@pytest.fixture
def folder(tmp_path):
    top = tmp_path / "leaflets"
    (top / "warm").mkdir(parents=True)
    (top / "cold").mkdir()
    (top / "warm" / "a.leaves").write_text("red\norange\nbad\n")
    (top / "cold" / "b.leaves").write_text("blue")
    (top / "cold" / "torn.leaves").write_text("!")
    return top


def short(items):
    return [item.rpartition("/")[2] for item in items]


def test_encode_gives_a_row_for_each_item(said, folder, tmp_path):
    out = tmp_path / "leaves.npz"
    document = said("encode", "leaf", folder, "-o", out, "--space", "fake")
    assert short(document["rows"]) == ["b.leaves#line=1", "a.leaves#line=1", "a.leaves#line=2"]
    assert short(failed["item"] for failed in document["failed"]) == ["torn.leaves", "a.leaves#line=3"]
    assert short(Embeddings.load(out).keys) == short(document["rows"])


def test_a_file_that_is_named_stands_for_all_its_items_and_a_numbered_one_for_itself(said, folder, tmp_path):
    path = folder / "warm" / "a.leaves"
    out = ("-o", tmp_path / "leaves.npz", "--space", "fake")
    assert short(said("encode", "leaf", path, *out)["rows"]) == ["a.leaves#line=1", "a.leaves#line=2"]
    assert short(said("encode", "leaf", f"{path}#line=2", *out)["rows"]) == ["a.leaves#line=2"]


def test_limits_apply_to_the_number_of_items(said, folder, tmp_path):
    out = ("-o", tmp_path / "leaves.npz", "--space", "fake", "--limit", "leaf.lines=1")
    document = said("encode", "leaf", folder, *out)
    assert short(document["rows"]) == ["b.leaves#line=1"]
    assert "it has 3 lines" in [failed["reason"] for failed in document["failed"]]


def test_classify_and_search_take_each_item(said, folder):
    ranked = said("classify", folder, "--modality", "leaf", "--labels", "red,blue", "--space", "fake")
    best = {row["item"].rpartition("/")[2]: row["labels"][0]["label"] for row in ranked["results"]}
    assert (best["a.leaves#line=1"], best["b.leaves#line=1"], len(best)) == ("red", "blue", 3)
    found = said("search", folder, "orange", "--in", "leaf", "--space", "fake", "-k", 1)
    assert short(match["item"] for match in found["matches"]) == ["a.leaves#line=2"]


def test_an_index_is_filled_searched_and_mapped(said, folder, tmp_path):
    index, page = tmp_path / "index", tmp_path / "found.html"
    added = said("index", "add", index, folder, "--space", "fake")
    assert (added["added"], len(added["failed"])) == (3, 2)
    found = said("search", index, "orange", "-k", 1, "--html", page)
    assert short(match["item"] for match in found["matches"]) == ["a.leaves#line=2"]
    assert "a.leaves#line=2" in page.read_text()
    assert "<blockquote>orange</blockquote>" in page.read_text()
    mapped = said("map", index, "-o", tmp_path / "map.html")
    assert len(mapped["rows"]) == 3


def test_labelled_folders_have_each_item_with_the_label_of_its_file(said, folder):
    (folder / "warm" / "a.leaves").write_text("red\norange")
    measured = said("eval", "zero-shot", folder, "--modality", "leaf", "--space", "fake")
    assert {"source": "cold/torn.leaves", "reason": "it is torn"} in measured["left_out"]
    assert measured["data"]["items"] == 3


def test_a_class_whose_files_all_fail_has_no_items(run, install, folder):
    install(leaves=(leaflets.SPEC, *leaflets.SPECS))
    (folder / "cold" / "b.leaves").unlink()
    failed = run("eval", "zero-shot", folder, "--modality", "leaf", "--space", "fake", code=1)
    assert "none of the files of class 'cold' can be read: it is torn" in failed.stderr
