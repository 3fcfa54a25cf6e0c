from __future__ import annotations

import re

import pytest

import mmencode
from mmencode.cli import map as command


@pytest.fixture
def vectors(run, folder, tmp_path):
    run("encode", "image", folder, "-o", tmp_path / "vectors.safetensors")
    return tmp_path / "vectors.safetensors"


@pytest.fixture
def index(run, folder, recordings, tmp_path):
    pytest.importorskip("lancedb")
    with mmencode.Index.create(tmp_path / "index", "fake") as made:
        names = [str(folder / name) for name in ("a.png", "b.JPG", "sub/c.png")]
        made.add("image", names, metadata=[{"year": 1990 + place} for place in range(3)])
        made.add("audio", [str(recordings / "200.wav")])
    return tmp_path / "index"


def test_file_of_vectors_is_drawn_with_thumbnails(run, vectors, tmp_path):
    result = run("map", vectors, "-o", tmp_path / "map.html")
    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == 3
    assert "sub/c.png" in page
    assert "which shows 3 rows" in result.stderr
    assert "of the variance" in result.stderr
    assert not list(tmp_path.glob(".*"))


def test_index_is_drawn_by_its_columns(run_json, index, tmp_path):
    document = run_json("map", index, "-o", tmp_path / "map.html", "--by", "year", "--by", "modality")
    rows = {row["item"].rpartition("/")[2]: row["groups"] for row in document["rows"]}
    assert rows["b.JPG"] == {"year": "1991", "modality": "image"}
    assert rows["200.wav"] == {"year": "no value", "modality": "audio"}
    assert document["layout"]["method"] == "pca"
    assert document["outliers"] == []
    assert "<option>year</option><option>modality</option>" in (tmp_path / "map.html").read_text()


def test_rows_are_chosen_by_condition(run_json, run, index, tmp_path):
    arguments = ("map", index, "-o", tmp_path / "map.html", "--where")
    assert len(run_json(*arguments, "modality = 'audio'")["rows"]) == 1
    assert "there are no rows" in run(*arguments, "year = 7", code=1).stderr
    run(*arguments, "no sql at all", code=2)


def test_same_vectors_give_the_same_page(run, vectors, tmp_path):
    pytest.importorskip("sklearn")
    for name in ("first.html", "second.html"):
        run("map", vectors, "-o", tmp_path / name, "--clusters", 2)
    first, second = ((tmp_path / name).read_bytes() for name in ("first.html", "second.html"))
    assert first == second
    assert b'"cluster 1","cluster 2"' in first


def test_thumbnails_end_where_their_size_does(run, vectors, tmp_path, monkeypatch):
    run("map", vectors, "-o", tmp_path / "none.html", "--no-thumbnails")
    assert "data:image/jpeg" not in (tmp_path / "none.html").read_text()
    run("map", vectors, "-o", tmp_path / "all.html")
    sizes = [len(uri) for uri in re.findall(r"data:image/jpeg[^\"]*", (tmp_path / "all.html").read_text())]
    monkeypatch.setattr(command, "THUMBNAIL_BYTES", sum(sizes) - 1)
    run("map", vectors, "-o", tmp_path / "some.html")
    page = (tmp_path / "some.html").read_text()
    assert page.count("data:image/jpeg") == 2
    assert "2 of 3 pictures have a thumbnail" in page


def test_image_that_is_gone_has_no_picture(run, vectors, folder, tmp_path):
    (folder / "a.png").unlink()
    run("map", vectors, "-o", tmp_path / "map.html")
    assert (tmp_path / "map.html").read_text().count("data:image/jpeg") == 2


@pytest.mark.parametrize(
    "options",
    [
        ("--by", "colour"),
        ("--clusters", 9),
        ("--clusters", 2, "--by", "modality"),
        ("--where", "true"),
        ("--method", "tsne"),
        ("-o", "absent/map.html"),
        ("-o", "."),
    ],
)
def test_nonsense_is_exit_code_two(run, vectors, options, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    run("map", vectors, *options, code=2)
    assert not list(tmp_path.glob("*.html"))


def test_folder_that_is_no_index_says_what_to_do(run, folder):
    assert "mmencode encode image" in run("map", folder, code=1).stderr


def test_file_that_holds_no_vectors_is_refused(run, folder, tmp_path):
    (tmp_path / "vectors.npz").write_bytes(b"none")
    run("map", tmp_path / "vectors.npz", code=1)
    run("map", folder / "note.txt", code=2)


def test_no_vectors_are_exit_code_one(run, vectors, tmp_path):
    mmencode.Embeddings.load(vectors)[:0].save(tmp_path / "empty.npz")
    assert "no rows" in run("map", tmp_path / "empty.npz", "-o", tmp_path / "map.html", code=1).stderr
