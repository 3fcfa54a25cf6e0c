"""Items with parts stand in tables, and every command that takes items takes these."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner
from wardrobe import COLOURS, PATTERNS, THREE, TWO, draw

import mmencode
from mmencode.cli import app
from mmencode.errors import InputError
from mmencode.inputs.listed import ListedItem, columns_of, read_listed
from mmencode.testing import fake_omni_specs

NAMES = [f"{colour}-{pattern}" for colour in COLOURS for pattern in PATTERNS]
SUM = ["--weight", "image=1", "--weight", "text=2"]


@pytest.fixture
def folder(tmp_path):
    top = tmp_path / "dresses"
    top.mkdir()
    for name in NAMES:
        draw(*name.split("-")).save(top / f"{name}.png")
    return top


@pytest.fixture
def table(folder):
    """All dresses as their owners describe them: each with the colour that it is to be dyed."""
    rows = [
        {"image": f"{colour}-{pattern}.png", "text": f"to be {dyed}", "key": f"{pattern} {dyed}", "price": n}
        for n, (colour, dyed, pattern) in enumerate(
            (colour, dyed, pattern)
            for colour, dyed in zip(COLOURS, [*COLOURS][1:] + [*COLOURS][:1], strict=True)
            for pattern in PATTERNS
        )
    ]
    return write(folder / "dresses.jsonl", *rows)


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def said(*arguments, code=0):
    return json.loads(run(*arguments, "--json", code=code).stdout)


@pytest.mark.parametrize(("specs", "options"), [(THREE, []), (TWO, SUM)], ids=["whole", "summed up"])
def test_an_index_is_filled_from_a_table_and_a_fused_query_finds_what_neither_part_finds(
    install, folder, table, tmp_path, specs, options
):
    pytest.importorskip("lancedb")
    install(wardrobe=specs)
    index = tmp_path / "index"
    add = ["index", "add", index, "--modality", "image+text", "--list", table, *options]
    done = said(*add, "--space", "wardrobe")
    assert (done["added"], done["unchanged"], done["rows"], done["failed"]) == (9, 0, 9, [])
    # The row's picture is red and striped, and its text asks for green.
    wanted = ["--image", folder / "blue-striped.png"]
    found = said("search", index, "in green", *wanted, "--in", "image+text", "-k", 1)["matches"]
    assert (found[0]["item"], found[0]["metadata"]) == ("striped green", {"price": 1})
    assert said("search", index, *wanted, "-k", 1)["matches"][0]["item"] != "striped green"
    texts = said("search", index, "in green", "-k", 3)["matches"]
    assert len({round(match["score"], 4) for match in texts}) == 1  # of which a text can't tell the pattern
    found = said("search", index, "in green", *wanted, "--where", "price > 5", "-k", 1)["matches"]
    assert found[0]["metadata"]["price"] > 5
    again = said(*add)
    assert (again["added"], again["unchanged"]) == (0, 9)
    draw("green", "dotted").save(folder / "red-striped.png")
    assert (said(*add)["added"], len(said(*add)["failed"])) == (1, 0)


def test_rows_are_encoded_and_bad_ones_named_with_row_part_and_source(install, folder, tmp_path):
    install(wardrobe=THREE)
    table = write(
        folder / "mixed.jsonl",
        {"image": "red-plain.png", "text": "in blue", "key": "a"},
        {"image": "missing.png", "text": "in blue", "key": "b"},
        {"image": None, "text": "in green"},
        {"image": "red-plain.png"},
        {"image": None, "text": None},
        {"image": "blue-dotted.png", "text": None},
        {"image": 7, "text": "x"},
        {"image": "red-plain.png", "text": "", "key": "c"},
    )
    out = tmp_path / "v.npz"
    document = said("encode", "image+text", "--list", table, "-o", out, "--space", "wardrobe")
    assert document["rows"] == ["a", "in green", str(folder / "blue-dotted.png")]
    reasons = {failed["item"].partition(",")[0]: failed["reason"] for failed in document["failed"]}
    assert reasons.keys() == {f"row {number} of {table}" for number in (1, 3, 4, 6, 7)}
    assert reasons[f"row 1 of {table}"] == "part 0 (image): there is no such file"
    assert f"row 1 of {table}, {folder / 'missing.png'}" in [each["item"] for each in document["failed"]]
    assert reasons[f"row 3 of {table}"] == "it has no 'text'; its columns are image"
    assert reasons[f"row 4 of {table}"] == "it has nothing in 'image' and 'text'"
    assert reasons[f"row 6 of {table}"] == "it has int in 'image'"
    assert reasons[f"row 7 of {table}"].startswith("part 1 (text): ")
    with mmencode.load("wardrobe") as space:
        items = [
            (folder / "red-plain.png", "in blue"),
            (None, "in green"),
            (folder / "blue-dotted.png", None),
        ]
        expected = space.encode("image+text", items).vectors
    found = mmencode.Embeddings.load(out)
    assert list(found.keys) == document["rows"]
    np.testing.assert_allclose(found.vectors, expected, atol=1e-6)
    named = said("encode", "image+text", table, "-o", out, "--space", "wardrobe")
    assert named["rows"] == document["rows"]


def test_a_table_is_classified(install, table):
    install(wardrobe=THREE)
    options = ("--labels", ",".join(COLOURS), "--modality", "image+text", "--space", "wardrobe", "-k", 1)
    found = said("classify", "--list", table, *options)["results"]
    assert len(found) == 9
    assert all(row["labels"][0]["label"] == row["item"].split()[1] for row in found)


def test_an_encoder_is_checked_on_a_table(install, table, folder):
    install(wardrobe=THREE)
    (report,) = said("check", "wardrobe/image-text", "--items", table, code=1)
    states = {check["check"]: check["state"] for check in report["checks"]}
    assert states["vector_does_not_depend_on_neighbours"] == "passed"
    assert states["items_with_other_parts_are_no_neighbours_in_a_vector"] == "passed"
    write(
        table, *({"image": "red-plain.png", "text": "a"} for _ in range(3)), {"image": "no.png", "text": None}
    )
    error = run("check", "wardrobe/image-text", "--items", table, code=1).stderr
    assert "error: part 0 (image): there is no such file" in error
    assert "row 3 of" in error.replace("\n", " ")


def test_interleaved_items_are_lists_of_pairs(install, folder, tmp_path):
    install(omni=fake_omni_specs("omni"))
    pairs = [["text", "Mix"], ["image", "red-plain.png"], ["text", "and bake"]]
    table = write(
        folder / "recipes.jsonl",
        {"parts": pairs, "key": "cake"},
        {"parts": [["smell", "a rose"]]},
        {"parts": []},
        {"parts": [["image", None]]},
        {"parts": "Mix"},
    )
    out = tmp_path / "v.npz"
    document = said("encode", "interleaved", table, "-o", out, "--space", "omni")
    assert document["rows"] == ["cake"]
    assert len(document["failed"]) == 4
    with mmencode.load("omni") as space:
        item = [("text", "Mix"), ("image", folder / "red-plain.png"), ("text", "and bake")]
        expected = space.encode("interleaved", [item]).vectors
    np.testing.assert_allclose(mmencode.Embeddings.load(out).vectors, expected, atol=1e-6)


def test_other_modalities_stand_in_tables_as_well(install, folder, tmp_path):
    pytest.importorskip("lancedb")
    install(wardrobe=TWO)
    notes = folder / "notes.csv"
    notes.write_text("text,key,year\nred and blue,1,2001\n,2,2002\ngreen,,\n")
    add = ["index", "add", tmp_path / "index", "--list", notes, "--modality", "text", "--space", "wardrobe"]
    document = said(*add)
    assert (document["added"], [failed["item"] for failed in document["failed"]]) == (
        2,
        [f"row 1 of {notes}"],
    )
    found = said("search", tmp_path / "index", "green", "-k", 1)["matches"][0]
    assert (found["item"], found["metadata"]) == ("green", {})
    photos = folder / "photos.csv"
    photos.write_text("image,key\nred-plain.png,r\nblue-plain.png,b\n")
    options = ("--labels", "red,blue", "--space", "wardrobe", "-k", 1)
    ranked = said("classify", "--list", photos, *options)["results"]
    assert [(row["item"], row["labels"][0]["label"]) for row in ranked] == [("r", "red"), ("b", "blue")]


def test_rows_that_would_take_each_others_place_or_hold_odd_metadata_are_named(install, folder, tmp_path):
    pytest.importorskip("lancedb")
    install(wardrobe=TWO)
    table = write(
        folder / "t.jsonl",
        {"text": "red", "key": "a", "year": 1},
        {"text": "blue", "key": "a", "year": 2},
        {"text": "green", "key": "b", "year": [3]},
        {"text": "green", "key": "c", "year": None},
    )
    add = ["index", "add", tmp_path / "index", "--list", table, "--modality", "text", "--space", "wardrobe"]
    document = said(*add)
    assert document["added"] == 2
    assert [failed["reason"][:40] for failed in document["failed"]] == [
        "it has the key 'a', which row 0 has",
        "year of row 2 is of type list, and the column year holds int"[:40],
    ]
    table.write_text('{"text": "red", "key": "a"}\n')
    assert said(*add)["unchanged"] == 1
    (found,) = said("search", tmp_path / "index", "red", "-k", 1)["matches"]
    assert found["metadata"] == {"year": 1}  # which a table without others leaves


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["encode", "image+text", "DRESSES", "--space", "wardrobe"], "have parts: name one table"),
        (["encode", "image+text", "--space", "wardrobe"], "with the columns image and text"),
        (["encode", "image+text", "TABLE", "TABLE"], "name one table"),
        (["encode", "image+text", "--list", "TABLE", "x"], "name no others"),
        (["encode", "text", "--list", "PICTURE"], "is no table that can be read"),
        (
            ["encode", "image+text", "--list", "TABLE", "--space", "wardrobe", "--weight", "image=1"],
            "text has",
        ),
        (
            ["encode", "image+text", "--list", "TABLE", "--space", "wardrobe", "--weight", "smell=1"],
            "no weight",
        ),
        (
            ["encode", "image+text", "--list", "TABLE", "--space", "wardrobe", "--weight", "text=-1"],
            "no weight",
        ),
        (["encode", "text", "x", "--space", "wardrobe", "--weight", "text=1"], "no weight"),
        (["index", "add", "INDEX", "--list", "TABLE"], "say what the items of the table are"),
        (["index", "add", "INDEX", "DRESSES", "--list", "TABLE"], "one after the other"),
        (["index", "add", "INDEX"], "name a folder of files, or a table"),
        (["index", "add", "INDEX", "DRESSES", "--weight", "image=1"], "items with parts"),
    ],
)
def test_wrong_usage_names_the_way_out(install, folder, table, tmp_path, arguments, words):
    install(wardrobe=TWO)
    places = {
        "DRESSES": folder,
        "TABLE": table,
        "INDEX": tmp_path / "index",
        "PICTURE": folder / "red-plain.png",
    }
    output = run(*(places.get(word, word) for word in arguments), code=2).stderr
    assert words in " ".join(output.replace("│", " ").split())
    assert not (tmp_path / "index").exists()


def test_a_space_without_such_items_says_how_to_sum_them_up(install, table, tmp_path):
    pytest.importorskip("lancedb")
    install(wardrobe=TWO)
    add = ["index", "add", tmp_path / "index", "--list", table, "--modality", "image+text"]
    error = " ".join(run(*add, "--space", "wardrobe", code=1).stderr.split())
    assert "space.fuse('image+text'), or --weight image=1 --weight text=1 on the command line" in error
    assert not (tmp_path / "index").exists()
    run(*add, "--space", "wardrobe", *SUM)
    error = run(*add, "--weight", "image=3", "--weight", "text=1", code=1).stderr
    assert "weighted sum" in error


@pytest.mark.parametrize(
    ("modality", "columns"),
    [
        ("text", ("text",)),
        ("audio+image+text", ("audio", "image", "text")),
        ("text+image+text", ("text.1", "image", "text.2")),
        ("interleaved", ("parts",)),
    ],
)
def test_columns_are_those_of_the_parts(modality, columns):
    assert columns_of(modality) == columns


def test_a_table_without_a_column_is_one_error_and_parts_that_come_twice_have_numbers(tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"text.1": ["a", None], "text.2": ["b", "c"], "key": [5, 6]}), path)
    found = list(read_listed(path, "text+text"))
    assert all(isinstance(row, ListedItem) for row in found)
    assert [(row.key, row.item) for row in found] == [("5", ("a", "b")), ("6", (None, "c"))]
    with pytest.raises(InputError, match=r"it has no 'image'; its columns are text.1, text.2, key"):
        list(read_listed(path, "image+text"))


def test_metadata_of_another_type_than_the_column_of_an_index_is_wrong_usage(install, folder, tmp_path):
    pytest.importorskip("lancedb")
    install(wardrobe=TWO)
    table = write(folder / "t.jsonl", {"text": "red", "key": "a", "year": 1})
    add = ["index", "add", tmp_path / "index", "--list", table, "--modality", "text", "--space", "wardrobe"]
    said(*add)
    table.write_text('{"text": "blue", "key": "b", "year": "one"}\n')
    done = run(*add, code=2)
    assert "year of row 0 is of type str, and the column year holds int" in " ".join(done.output.split())
