"""The sides of queries and documents, instructions, and the choice of modalities on the command line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_roles import TEXTS, spec

import mmencode
from mmencode import Embeddings
from mmencode.testing import fake_specs

RANKED = ["two dogs", "a red car", "the old bridge", "a cat", "an old car"]


@pytest.fixture
def two(run, install):
    """A default space whose texts have two sides, and pictures one."""
    picture = replace(fake_specs()[1], name="two/image", space="two")
    install(two=(replace(spec(), aliases=("default",)), spec("query"), picture))


def vectors(path):
    return Embeddings.load(path)


@pytest.mark.parametrize("role", ["query", "document"])
def test_items_are_encoded_for_a_side(two, run, tmp_path, role):
    run("encode", "text", *TEXTS, "--role", role, "-o", tmp_path / "rows.npz", "--device", "cpu")
    with mmencode.load("two", device="cpu") as space:
        expected = space.encode("text", TEXTS, role=role)
    np.testing.assert_array_equal(vectors(tmp_path / "rows.npz").vectors, expected.vectors)
    assert vectors(tmp_path / "rows.npz").towers == expected.towers


def test_another_word_than_a_side_is_exit_code_two(two, run, tmp_path):
    result = run("encode", "text", "a", "--role", "queries", "-o", tmp_path / "rows.npz", code=2)
    assert "neither query nor document" in result.output


def test_an_index_is_searched_by_queries_with_an_instruction(two, run, run_json, tmp_path):
    pytest.importorskip("lancedb")
    index = tmp_path / "index"
    with mmencode.load("two", device="cpu") as space, mmencode.Index.create(index, space) as made:
        made.add("text", RANKED)
    for instruction in ("", "find something else altogether"):
        options = ["--instruction", instruction, "--modalities", "text"] if instruction else []
        found = run_json("search", index, "a red car", "-k", "5", "--device", "cpu", *options)
        with mmencode.load("two", device="cpu", instruction=instruction) as space:
            asked = space.encode("text", ["a red car"], role="query")
            best = mmencode.search(asked, space.encode("text", RANKED), k=5)
        assert [match["item"] for match in found["matches"]] == [RANKED[place] for place in best.positions[0]]
        np.testing.assert_allclose([match["score"] for match in found["matches"]], best.scores[0], atol=1e-6)


def test_an_instruction_that_no_encoder_takes_is_named(run):
    result = run("search", ".", "a", "--instruction", "find", code=1)
    assert "takes an instruction" in result.output


def test_modalities_that_a_space_lacks_are_named(two, run, tmp_path):
    said = run("encode", "text", "a", "--modalities", "image", "-o", tmp_path / "rows.npz", code=1)
    assert "was loaded without 'text'" in said.output
    said = run("encode", "text", "a", "--modalities", "video", "-o", tmp_path / "rows.npz", code=1)
    assert "no encoder for 'video'" in said.output
    run("encode", "text", "a", "--modalities", " , ", "-o", tmp_path / "rows.npz", code=2)


def test_a_list_shows_the_sides(two, run, run_json):
    rows = {row["name"]: row for row in run_json("list")}
    assert (rows["two/query"]["role"], rows["two/query"]["instructed"]) == ("query", True)
    assert rows["two/document"]["role"] == ""
