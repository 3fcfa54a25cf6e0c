"""The command line with a space that gives many vectors for each item."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import mmencode
from mmencode import MultiEmbeddings
from mmencode.testing import fake_multi_specs, fake_specs

LATE = tuple(replace(spec, aliases=("late",)) for spec in fake_multi_specs("letters"))
ONE = tuple(replace(spec, aliases=("default",)) for spec in fake_specs())


@pytest.fixture
def many(run, install):
    install(late=LATE, fakes=ONE)


@pytest.fixture
def stripes(tmp_path):
    """Pictures of four rows; only `needle.png` has the row of the example, and its mean is another's."""
    row = np.array([250, 10, 10, 10, 10, 10, 10, 10], np.uint8)
    other = np.array([10, 10, 10, 10, 10, 10, 10, 250], np.uint8)
    even = np.full(8, 70, np.uint8)
    halves = np.array([200, 60, 60, 60, 20, 20, 20, 20], np.uint8)
    pictures = {
        "needle": [row, other, other, other],
        "alike": [halves, halves, halves, halves],
        "even": [even, even, even, even],
    }
    folder = tmp_path / "stripes"
    folder.mkdir()
    for name, rows in pictures.items():
        _draw(np.stack(rows), folder / f"{name}.png")
    example = tmp_path / "example.png"
    _draw(np.stack([row] * 4), example)
    return folder, example


def _draw(rows, path):
    Image.fromarray(np.repeat(rows[:, :, None], 3, axis=2)).save(path)


def _names(matches):
    return [match["item"].rpartition("/")[2] for match in matches]


def test_a_match_that_a_mean_misses_is_found_in_a_folder_and_in_an_index(many, run_json, stripes, tmp_path):
    folder, example = stripes
    with mmencode.load("late", device="cpu") as space:
        files = sorted(map(str, folder.iterdir()))
        means = [space.encode_multi("image", items).mean() for items in ([str(example)], files)]
    best = files[mmencode.search(*means, 1).rows[0, 0]]
    assert best.endswith("alike.png")
    found = run_json("search", folder, "--image", example, "--space", "late")
    assert _names(found["matches"])[0] == "needle.png"
    assert found["matches"][0]["score"] == pytest.approx(4, abs=1e-5)
    index = tmp_path / "index"
    done = run_json("index", "add", index, folder, "--space", "late", "--precision", "float16")
    assert done["added"] == 3
    again = run_json("search", index, "--image", example)
    assert _names(again["matches"])[0] == "needle.png"
    assert run_json("index", "info", index)["vectors"] == "many for each row, float16"


def test_encode_writes_many_vectors_which_pool_merges(many, run, run_json, tmp_path):
    out = tmp_path / "vectors.npz"
    written = run_json("encode", "text", "two dogs", "a car", "-o", out, "--space", "late", "--pool", "2")
    held = MultiEmbeddings.load(out)
    assert (written["count"], held.counts.tolist()) == (5, [3, 2])
    assert (held.keys, held.space) == (("two dogs", "a car"), written["space"])
    assert held.space.endswith(":pool2")
    assert "5" in run("encode", "text", "two dogs", "a car", "-o", out, "--space", "late", "--pool", 2).stdout


def test_an_index_keeps_how_it_was_made(many, run, run_json, stripes, tmp_path):
    folder, _ = stripes
    index = tmp_path / "index"
    add = ("index", "add", index, folder)
    run(*add, "--space", "late", "--pool", 2)
    assert run_json(*add, "--pool", 2)["unchanged"] == 3
    assert "was made with 2" in run(*add, "--pool", 3, code=2).stderr
    assert "was made with float32" in run(*add, "--precision", "float16", code=2).stderr
    assert run_json("index", "info", index)["vectors"] == "many for each row, float32, pooled by 2"
    assert run_json("index", "sync", index, folder)["unchanged"] == 3


def test_what_late_interaction_has_no_answer_for_is_refused_with_a_remedy(many, run, stripes, tmp_path):
    folder, example = stripes
    late = ("--space", "late")
    assert "one vector each" in run("search", folder, "x", "--pool", 2, code=2).stderr
    one = ("index", "add", tmp_path / "one", folder)
    for option in (("--pool", 2), ("--precision", "float16")):
        assert "one vector each" in run(*one, *option, code=2).stderr
        assert not (tmp_path / "one").exists()
    assert "aren't summed up" in run("search", folder, "x", "--without", "y", *late, code=2).stderr
    weighted = run("search", folder, "x", "--image", example, "--weight", "image=2", *late, code=2)
    assert "aren't summed up" in weighted.stderr
    run("index", "add", tmp_path / "many", folder, *late)
    assert "no mean" in run("search", tmp_path / "many", "x", "--centred", code=2).stderr
    assert "--pool" in run("search", tmp_path / "many", "x", "--pool", 2, code=2).stderr
    refused = run("classify", folder, "--labels", "cat,dog", *late, code=1)
    assert "mmencode.similarity" in refused.stderr


def test_a_page_says_what_the_scores_are(many, run, stripes, tmp_path):
    folder, example = stripes
    page = tmp_path / "found.html"
    run("search", folder, "--image", example, "--space", "late", "--html", page)
    assert "sums of the best cosine similarity" in page.read_text()
