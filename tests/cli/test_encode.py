from __future__ import annotations

import sys

import numpy as np
import pytest

import mmencode


def test_vectors_and_names_of_the_good_items_are_written_and_the_bad_listed(run, folder, tmp_path):
    out = tmp_path / "v.safetensors"
    result = run("encode", "image", folder, "-o", out)
    vectors = mmencode.Embeddings.load(out)
    names = [str(folder / name) for name in ("a.png", "b.JPG", "sub/c.png")]
    assert vectors.keys == tuple(names)
    np.testing.assert_array_equal(vectors.vectors, mmencode.load("fake").encode("image", names).vectors)
    assert result.stdout.splitlines() == ["file\trows\tdim", f"{out}\t3\t8"]
    assert f"{folder / 'broken.png'}\tit can't be decoded" in result.stderr


def test_json_document_has_names_and_failures(run_json, folder, tmp_path):
    document = run_json("encode", "image", folder, "-o", tmp_path / "v.safetensors")
    assert document["dim"] == 8
    assert document["space"].startswith("fake@")
    assert len(document["rows"]) == 3
    assert [failure["item"] for failure in document["failed"]] == [str(folder / "broken.png")]


def test_texts_come_from_arguments_standard_input_and_a_file(run_json, tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("third\n")
    out = tmp_path / "v.safetensors"
    document = run_json(
        "encode", "text", "first, with a comma", "-", "--file", lines, "-o", out, input="second\n\n"
    )
    assert document["rows"] == ["first, with a comma", "second", "third"]
    assert mmencode.Embeddings.load(out).keys == tuple(document["rows"])


def test_text_that_names_a_folder_is_still_a_text(run_json, tmp_path):
    assert run_json("encode", "text", tmp_path, "-o", tmp_path / "v.safetensors")["rows"] == [str(tmp_path)]


def test_nothing_encoded_is_exit_code_one_and_writes_nothing(run, tmp_path):
    out = tmp_path / "v.safetensors"
    result = run("encode", "image", tmp_path / "absent.png", "-o", out, code=1)
    assert "there is no such file" in result.stderr
    assert "error: nothing could be encoded" in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_unknown_space_and_modality_are_exit_code_one_with_the_remedy(run, tmp_path):
    out = tmp_path / "v.safetensors"
    assert "did you mean fake?" in run("encode", "text", "a", "--space", "fkae", "-o", out, code=1).stderr
    assert "it has audio, image, text" in run("encode", "smell", "a", "-o", out, code=1).stderr
    assert "isn't there" in run("encode", "text", "a", "--device", "cuda:99", "-o", out, code=1).stderr


def test_wrong_usage_is_exit_code_two(run, tmp_path):
    out = tmp_path / "v.safetensors"
    assert "name some items" in run("encode", "text", "-o", out, code=2).stderr
    assert "make it one of" in run("encode", "text", "a", "-o", tmp_path / "v.npy", code=2).stderr
    assert "no folder" in run("encode", "text", "a", "-o", tmp_path / "no" / "v.safetensors", code=2).stderr
    assert "one by one" in run("encode", "smell", tmp_path, "-o", out, code=2).stderr


def test_file_that_cannot_be_written_is_exit_code_one_without_a_traceback(run, tmp_path):
    out = tmp_path / "v.safetensors"
    out.mkdir()
    assert run("encode", "text", "a", "-o", out, code=1).stderr.startswith("error: ")


@pytest.mark.parametrize("ending", ["npz", "parquet", "arrow"])
def test_ending_says_the_format(run, folder, tmp_path, ending):
    out = tmp_path / f"v.{ending}"
    run("encode", "image", folder, "-o", out)
    vectors = mmencode.Embeddings.load(out)
    assert vectors.keys == tuple(str(folder / name) for name in ("a.png", "b.JPG", "sub/c.png"))
    assert vectors.space == mmencode.load("fake").id


def test_format_whose_package_is_missing_is_named_before_the_work(run, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = run("encode", "image", folder, "-o", tmp_path / "v.parquet", code=1)
    assert "pip install 'mmencode[arrow]'" in result.stderr
