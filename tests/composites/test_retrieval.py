"""A fused query finds what neither of its parts finds alone, from Python and from the command line."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner
from wardrobe import COLOURS, PATTERNS, THREE, TWO, draw

import mmencode
from mmencode.cli import app

WANTED, MINE = "red-striped.png", "blue-striped.png"
TEXT = "the same in red"


@pytest.fixture
def folder(tmp_path):
    top = tmp_path / "dresses"
    top.mkdir()
    for colour in COLOURS:
        for pattern in PATTERNS:
            draw(colour, pattern).save(top / f"{colour}-{pattern}.png")
    return top


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def best(*arguments):
    document = json.loads(run("search", *arguments, "--json").stdout)
    return document["matches"][0]["item"].rpartition("/")[2]


def test_fused_query_finds_what_neither_part_finds_from_python(install, folder):
    install(wardrobe=THREE)
    with mmencode.load("wardrobe") as space:
        paths = sorted(folder.glob("*.png"))
        corpus = space.encode("image", paths).with_keys(paths)
        queries = [("image+text", (folder / MINE, TEXT)), ("image", folder / MINE), ("text", TEXT)]
        found = space.search(space.encode_mixed(queries), corpus, k=1)
        names = [corpus.keys[row].rpartition("/")[2] for row in found.positions[:, 0]]
    assert names[:2] == [WANTED, MINE]
    assert names[2] != WANTED


def test_weighted_sum_of_two_towers_finds_it_too(install, folder):
    install(wardrobe=TWO)
    with mmencode.load("wardrobe") as space:
        fused = space.fuse("image+text", weights=(1, 2))
        paths = sorted(folder.glob("*.png"))
        corpus = space.encode("image", paths)
        found = fused.search(fused.encode("image+text", [(folder / MINE, TEXT)]), corpus, k=1)
    assert paths[found.positions[0, 0]].name == WANTED


def test_index_holds_fused_items_and_takes_fused_queries(install, folder, tmp_path):
    pytest.importorskip("lancedb")
    install(wardrobe=TWO)
    names = [f"{colour}-{pattern}" for colour in COLOURS for pattern in PATTERNS]
    items = [(folder / f"{name}.png", f"a {name.partition('-')[0]} dress") for name in names]
    with mmencode.load("wardrobe") as space:
        fused = space.fuse("image+text", weights=(1, 2))
        with mmencode.Index.create(tmp_path / "index", fused) as index:
            assert index.add("image+text", items, keys=names).added == 9
            (hits,) = index.search("image+text", [(folder / MINE, TEXT)], k=1)
            assert hits[0].key == "red-striped"
        known = space.id
    with mmencode.Index.open(tmp_path / "index") as again:
        assert again.card.id == known
        (hits,) = again.search("image+text", [(folder / MINE, TEXT)], k=1)
        assert (hits[0].key, hits[0].modality) == ("red-striped", "image+text")


def test_index_refuses_rows_of_another_weighting(install, folder, tmp_path):
    pytest.importorskip("lancedb")
    install(wardrobe=TWO)
    with mmencode.load("wardrobe") as space, mmencode.Index.create(tmp_path / "index", space) as index:
        index.add("text", ["red"])
    space = mmencode.load("wardrobe")
    one, other = space.fuse("image+text"), space.fuse("image+text", (1, 2))
    with mmencode.Index.open(tmp_path / "index", space=one) as index:
        index.add("image+text", [(folder / MINE, "red")], keys=["a"])
    with (
        mmencode.Index.open(tmp_path / "index", space=other) as index,
        pytest.raises(mmencode.errors.SpaceMismatchError, match="weighted sum"),
    ):
        index.add("image+text", [(folder / MINE, "red")], keys=["b"])


def test_fused_rows_stand_in_tables_and_on_pages_by_their_keys(install, folder, tmp_path):
    pytest.importorskip("lancedb")
    install(wardrobe=THREE)
    with mmencode.load("wardrobe") as space, mmencode.Index.create(tmp_path / "index", space) as index:
        index.add("image+text", [(folder / WANTED, "red"), (folder / MINE, None)], keys=["wanted", "mine"])
    asked = [tmp_path / "index", TEXT, "--image", folder / MINE, "--html", tmp_path / "found.html"]
    assert run("search", *asked).stdout.splitlines()[1].split("\t")[2] == "wanted"
    page = (tmp_path / "found.html").read_text()
    assert "wanted" in page
    assert "has parts, and isn&#x27;t shown" in page or "has parts, and isn't shown" in page


@pytest.mark.parametrize("kind", ["folder", "index"])
def test_command_line_finds_it_by_a_picture_and_words(install, folder, tmp_path, kind):
    install(wardrobe=THREE)
    place, options = folder, ["--space", "wardrobe"]
    if kind == "index":
        pytest.importorskip("lancedb")
        place, options = tmp_path / "dresses.index", []
        run("index", "add", place, folder, "--space", "wardrobe")
    mine = ["--image", folder / MINE]
    assert best(place, TEXT, *mine, *options) == WANTED
    assert best(place, *mine, *options) == MINE
    assert best(place, TEXT, *options) not in (WANTED, MINE)
    assert best(place, TEXT, *mine, "--without", "red", *options) != WANTED


def test_command_line_takes_weights_where_the_space_fuses_nothing(install, folder):
    install(wardrobe=TWO)
    asked = [folder, TEXT, "--image", folder / MINE, "--space", "wardrobe"]
    assert "needs weights" in run("search", *asked, code=2).output.replace("\n", " ")
    assert best(*asked, "--weight", "text=2") == WANTED


def test_labels_are_given_by_fused_examples_and_fused_items_are_classified(install, folder):
    install(wardrobe=THREE)
    labels = {
        colour: [(folder / f"{colour}-{pattern}.png", None) for pattern in PATTERNS] for colour in COLOURS
    }
    with mmencode.load("wardrobe") as space:
        classifier = space.classifier(labels, by="image+text")
        found = classifier.classify("image+text", [(folder / MINE, TEXT), (folder / MINE, None)])
    assert [found.labels[row.argmax()] for row in found.scores] == ["red", "blue"]
