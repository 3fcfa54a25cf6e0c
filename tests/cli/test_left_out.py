"""What commands leave out of folders is said, and links out of them are followed on demand."""

from __future__ import annotations

import pytest

LEFT_OUT = {"with the ending .txt": 1, "hidden": 1, "hidden folders": 1}


@pytest.fixture(params=["encode", "classify", "search"])
def line(request, folder, tmp_path):
    """A command that looks at the folder, and what it gives of an item."""
    return {
        "encode": (("encode", "image", folder, "-o", tmp_path / "v.npz"), "rows"),
        "classify": (("classify", folder, "--labels", "cat,dog"), "results"),
        "search": (("search", folder, "a red car"), "matches"),
    }[request.param]


def test_what_is_left_out_is_counted_in_the_document_and_on_standard_error(run, run_json, line):
    arguments, _ = line
    assert run_json(*arguments)["left_out"] == LEFT_OUT
    printed = run(*arguments)
    assert "left out of the folders: 1 hidden, 1 hidden folders, 1 with the ending .txt" in printed.stderr
    assert "left out" not in printed.stdout


def test_links_out_of_the_folder_are_followed_on_demand(run_json, line, folder, tmp_path):
    arguments, items = line
    (folder / "a.png").rename(tmp_path / "a.png")
    (folder / "a.png").symlink_to(tmp_path / "a.png")
    without, followed = run_json(*arguments), run_json(*arguments, "--follow-links")
    assert without["left_out"] == {**LEFT_OUT, "links out of the folder": 1}
    assert followed["left_out"] == LEFT_OUT
    assert len(followed[items]) == len(without[items]) + 1 == 3


def test_nothing_is_left_out_of_files_that_are_named(run, run_json, folder):
    assert run_json("classify", folder / "a.png", "--labels", "cat,dog")["left_out"] == {}
    assert run("classify", folder / "a.png", "--labels", "cat,dog").stderr == ""


def test_an_index_follows_no_links_when_it_is_searched(run, run_json, folder, tmp_path):
    run("index", "add", tmp_path / "ix", folder)
    assert run_json("search", tmp_path / "ix", "a red car")["left_out"] == {}
    assert "mmencode index add" in run("search", tmp_path / "ix", "x", "--follow-links", code=2).output
