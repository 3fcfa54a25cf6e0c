from __future__ import annotations

import json
import os

import pytest
from PIL import Image

import mmencode
from mmencode.embeddings.combining import combine


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
    assert "error: it can't be decoded" in result.stderr


def test_folder_of_broken_files_is_exit_code_one(run, folder):
    for name in ("a.png", "b.JPG", "sub/c.png"):
        (folder / name).unlink()
    assert "nothing could be encoded" in run("search", folder, "words", code=1).stderr


@pytest.fixture
def index(run, folder, recordings, tmp_path):
    """An index of the three images, a recording, a text and a file that is gone, with a column for each."""
    pytest.importorskip("lancedb")
    with mmencode.Index.create(tmp_path / "index", "fake") as made:
        names = [str(folder / name) for name in ("a.png", "b.JPG", "sub/c.png")]
        made.add(
            "image", names, metadata=[{"year": 1990 + place, "note": "<b>bold</b>"} for place in range(3)]
        )
        made.add("audio", [str(recordings / "200.wav")])
        made.add("text", ["a red car"])
        gone = made.space.encode("image", [Image.new("RGB", (8, 8), "red")]).with_keys(["/absent/gone.png"])
        made.add_embeddings(gone)
    return tmp_path / "index"


def test_weighted_examples_and_words_are_one_query(run_json, folder):
    example = folder / "b.JPG"
    arguments = (
        "search",
        folder,
        "a red car",
        "--image",
        example,
        "--weight",
        "image=0.3",
        "--without",
        "dogs",
    )
    document = run_json(*arguments)
    space = mmencode.load("fake")
    parts = space.encode_mixed([("text", "a red car"), ("image", str(example)), ("text", "dogs")])
    images = space.encode("image", [match["item"] for match in document["matches"]])
    expected = mmencode.similarity(combine(parts, [1, 0.3, -1]), images)[0]
    assert [match["score"] for match in document["matches"]] == pytest.approx(expected.tolist(), abs=1e-5)
    assert document["query"] == {"modality": "mixed", "item": f"a red car + 0.3 x {example} - dogs"}
    assert [part["weight"] for part in document["parts"]] == [1, 0.3, -1]


def test_several_examples_count_alike(run_json, folder):
    names = [folder / "a.png", folder / "b.JPG"]
    document = run_json("search", folder, "--image", names[0], "--image", names[1], "-k", 3)
    assert document["query"]["modality"] == "image"
    assert {match["item"] for match in document["matches"][:2]} == set(map(str, names))


@pytest.mark.parametrize(
    "weight", ["image", "image=", "image=much", "image=nan", "image=0", "audio=1", "scent=1", "=1"]
)
def test_weight_that_is_none_is_exit_code_two(run, folder, weight):
    arguments = ("search", folder, "words", "--image", folder / "a.png", "--weight", weight)
    assert "NAME=NUMBER" in run(*arguments, code=2).output


def test_queries_that_cancel_out_are_exit_code_two(run, folder):
    assert "cancel each other out" in run("search", folder, "words", "--without", "words", code=2).output


def test_more_matches_than_there_are_to_find_are_said_to_be_all(run, folder):
    result = run("search", folder, "words", "-k", 9)
    assert len(result.stdout.splitlines()) == 4
    assert "no more than 3" in result.stderr


def test_empty_folder_is_exit_code_one(run, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no image files" in run("search", tmp_path / "empty", "words", code=1).stderr


@pytest.mark.parametrize("option", [("--where", "true"), ("--centred",)])
def test_conditions_are_for_an_index(run, folder, option):
    assert "is none" in run("search", folder, "words", *option, code=2).output


@pytest.mark.parametrize("name", ["absent/page.html", "."])
def test_page_that_could_not_be_written_is_found_out_before_the_work(
    run, folder, tmp_path, monkeypatch, name
):
    monkeypatch.setattr("mmencode.cli.matches.open_space", lambda *_: pytest.fail("work was done"))
    run("search", folder, "words", "--html", tmp_path / name, code=2)


def test_page_shows_what_was_found(run, folder, tmp_path):
    page = tmp_path / "page.html"
    result = run("search", folder, "--image", folder / "a.png", "-k", 2, "--html", page)
    content = page.read_text(encoding="utf-8")
    assert content.count("data:image/jpeg") == 3  # with the example
    assert "The 2 nearest of 3." in content
    assert "1 item couldn&#x27;t be encoded" in content
    assert str(page) in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photos", "page.html"] or not list(
        tmp_path.glob(".*")
    )


def test_index_is_searched_as_it_is(run_json, index, monkeypatch):
    monkeypatch.setattr("mmencode.cli.matches.gather", lambda *_: pytest.fail("files were read"))
    document = run_json("search", index, "a red car", "-k", 6)
    assert document["matches"][0] | {"score": 1} == {
        "item": "a red car",
        "modality": "text",
        "score": 1,
        "metadata": {},
    }
    assert document["searched"] == 6
    assert len(document["matches"]) == 6
    assert document["failed"] == []


def test_rows_of_an_index_are_chosen_by_condition_and_modality(run_json, run, index, folder):
    chosen = run_json("search", index, "a red car", "--where", "year > 1990", "--in", "image")
    assert {match["metadata"]["year"] for match in chosen["matches"]} == {1991, 1992}
    assert chosen["searched"] is None
    assert run_json("search", index, "a red car", "--in", "image")["searched"] == 4
    assert "year" in run("search", index, "a red car", "-k", 6).stdout.splitlines()[0]
    assert run_json("search", index, "--image", folder / "a.png", "--centred")["matches"]


@pytest.mark.parametrize("option", [("--where", "no sql at all"), ("--space", "fake")])
def test_nonsense_for_an_index_is_exit_code_two(run, index, option):
    run("search", index, "words", *option, code=2)


def test_empty_index_is_exit_code_one(run, tmp_path):
    pytest.importorskip("lancedb")
    mmencode.Index.create(tmp_path / "index", "fake").close()
    assert "has no rows" in run("search", tmp_path / "index", "words", code=1).stderr


def test_page_of_an_index_shows_every_kind_of_row(run, index, tmp_path):
    page = tmp_path / "page.html"
    run("search", index, "a red car", "-k", 6, "--html", page)
    content = page.read_text(encoding="utf-8")
    assert content.count('<img src="data:image/jpeg') == 3
    assert content.count('src="data:audio/wav') == 1
    assert "<blockquote>a red car</blockquote>" in content
    assert "there is no such file" in content
    assert "<b>bold" not in content
    assert "&lt;b&gt;bold" in content


def test_file_whose_name_is_not_utf_8_is_shown(run, folder, tmp_path):
    name = os.fsdecode(b'caf\xe9 "x".png')
    (folder / "a.png").rename(folder / name)
    page = tmp_path / "page.html"
    document = run("search", folder, "words", "--json", "--html", page)
    assert name in [os.path.basename(match["item"]) for match in json.loads(document.stdout)["matches"]]
    assert "caf\\udce9 &quot;x&quot;.png" in page.read_text(encoding="utf-8")
