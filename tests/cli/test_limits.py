"""--limit raises and lowers the limits on items, in every command that reads some."""

from __future__ import annotations

import pytest

FOLDER, INDEX, OUT = object(), object(), object()
COMMANDS = [
    ("encode", "image", FOLDER, "-o", OUT),
    ("classify", FOLDER, "--labels", "cat,dog"),
    ("search", FOLDER, "a cat"),
    ("index", "add", INDEX, FOLDER),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_limit_is_obeyed_where_items_are_read(run, folder, tmp_path, command):
    places = {FOLDER: folder, INDEX: tmp_path / "a.index", OUT: tmp_path / "v.npz"}
    words = [places.get(word, word) for word in command]
    result = run(*words, "--limit", "pixels=10", "--json", code=1)
    assert "the limit is 10" in result.output or "failures" in result.output
    run(*words, "--limit", "pixels=10", "--limit", "pixels=64", *(["--retry"] * (INDEX in command)))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("pixel=10", "there is no limit 'pixel'"),
        ("pixels=many", "isn't NAME=NUMBER"),
        ("pixels=0", "make it a positive int"),
        ("pixels=1.5", "make it a positive int"),
        ("wait=nan", "make it a positive number"),
    ],
)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_what_is_no_limit_is_wrong_usage(run, folder, tmp_path, command, given, said):
    places = {FOLDER: folder, INDEX: tmp_path / "a.index", OUT: tmp_path / "v.npz"}
    result = run(*[places.get(word, word) for word in command], "--limit", given, code=2)
    assert said in " ".join(result.output.replace("│", " ").split())


def test_limits_reach_the_pictures_on_pages_and_in_the_terminal(run, folder, tmp_path):
    run("index", "add", tmp_path / "a.index", folder)
    asked = ("search", tmp_path / "a.index", "a cat", "--html", tmp_path / "a.html", "--previews")
    drawn = run(*asked).stdout
    assert (tmp_path / "a.html").read_text().count("data:image/jpeg") == 3
    blank = run(*asked, "--limit", "pixels=10").stdout
    assert "the limit is 10" in (tmp_path / "a.html").read_text()
    assert "data:image/jpeg" not in (tmp_path / "a.html").read_text()
    assert "\u2580" in drawn
    assert "\u2580" not in blank


def test_limits_reach_the_thumbnails_of_a_map(run, folder, tmp_path):
    run("encode", "image", folder, "-o", tmp_path / "v.safetensors")
    run("map", tmp_path / "v.safetensors", "-o", tmp_path / "map.html", "--limit", "pixels=10")
    assert "data:image/jpeg" not in (tmp_path / "map.html").read_text()
    run("map", tmp_path / "v.safetensors", "-o", tmp_path / "map.html", "--limit", "pixels=64")
    assert "data:image/jpeg" in (tmp_path / "map.html").read_text()
