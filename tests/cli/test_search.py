from __future__ import annotations

import pytest

import mmencode


def test_files_nearest_to_a_text_are_ranked(run_json, folder):
    document = run_json("search", folder, "a red car", "-k", 2)
    names = [str(folder / name) for name in ("a.png", "b.JPG", "sub/c.png")]
    space = mmencode.load("fake")
    best = space.search(space.encode("text", ["a red car"]), space.encode("image", names), 2)
    assert document["query"] == {"modality": "text", "item": "a red car"}
    assert document["searched"] == 3
    assert [match["item"] for match in document["matches"]] == [names[row] for row in best.rows[0]]
    assert len(document["failed"]) == 1


def test_example_is_nearest_to_itself(run, folder):
    lines = run("search", folder, "--image", folder / "b.JPG", "-k", 1).stdout.splitlines()
    assert lines == ["rank\tscore\tfile", f"1\t1.000\t{folder / 'b.JPG'}"]


def test_recordings_are_searched_by_a_recording(run_json, recordings):
    example = recordings / "2000.wav"
    document = run_json("search", recordings, "--audio", example, "--in", "audio")
    assert document["matches"][0]["item"] == str(example)
    assert document["query"]["modality"] == "audio"


@pytest.mark.parametrize("arguments", [(), ("words", "--image", "x.png"), ("words", "-k", 0)])
def test_no_or_two_queries_are_exit_code_two(run, folder, arguments):
    run("search", folder, *arguments, code=2)


def test_folder_that_is_not_there_is_exit_code_two(run, tmp_path):
    run("search", tmp_path / "absent", "words", code=2)


def test_broken_example_is_exit_code_one(run, folder):
    result = run("search", folder, "--image", folder / "broken.png", code=1)
    assert result.stderr.startswith("error: it can't be decoded")


def test_folder_of_broken_files_is_exit_code_one(run, folder):
    for name in ("a.png", "b.JPG", "sub/c.png"):
        (folder / name).unlink()
    assert "nothing could be encoded" in run("search", folder, "words", code=1).stderr
