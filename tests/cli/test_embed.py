"""`mmencode embed` encodes a source part by part, and says what it did."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mmencode.cli import app


@pytest.fixture
def source(tmp_path):
    rows = [{"key": f"k{n}", "caption": f"caption {n}"} for n in range(20)]
    rows[3]["caption"] = ""
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*words):
    return CliRunner().invoke(app, ["embed", *map(str, words)])


def test_it_counts_parts_rows_and_failures_and_goes_on_where_it_was(source, tmp_path):
    words = (
        source,
        "-m",
        "text",
        "--column",
        "caption",
        "-o",
        tmp_path / "out",
        "--unit-bytes",
        300,
        "--json",
    )
    first = run(*words)
    assert first.exit_code == 0, first.output
    found = json.loads(first.stdout)
    assert (found["vectors"], found["failures"], found["done"]) == (19, 1, 0)
    again = json.loads(run(*words).stdout)
    assert (again["vectors"], again["done"]) == (0, found["units"])


def test_keys_that_several_parts_have_are_an_error_that_names_them(source, tmp_path):
    source.write_text(source.read_text() * 2)
    words = (
        source,
        "-m",
        "text",
        "--column",
        "caption",
        "-o",
        tmp_path / "out",
        "--unit-bytes",
        300,
        "--check",
    )
    done = run(*words)
    assert done.exit_code == 1
    assert "20 keys are in several parts" in done.stderr or "19 keys are in several parts" in done.stderr


def test_a_part_that_cant_be_read_is_exit_code_1_with_its_reason(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "a.csv").write_text("text\nfine\n")
    (folder / "b.csv").write_bytes(b"text\n\xff\n")
    done = run(folder, "-m", "text", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "b.csv" in done.stderr
    assert "1 of 2 parts" in done.stderr
    assert "\t1\t" in done.stdout


def test_an_output_of_another_job_is_refused(source, tmp_path):
    assert run(source, "-m", "text", "--column", "caption", "-o", tmp_path / "out").exit_code == 0
    done = run(source, "-m", "text", "--column", "key", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "column is 'caption', not 'key'" in done.stderr
