from __future__ import annotations

import csv
import json
import shutil

import pytest

import mmencode
from mmencode import evaluation

QUICK = ("--resamples", 100)


@pytest.fixture
def classes(folder):
    """Two classes of the folder's images, one with the broken one."""
    top = folder.parent / "classes"
    for name, files in {"cat": ("a.png", "broken.png"), "dog": ("b.JPG", "sub/c.png")}.items():
        (top / name).mkdir(parents=True)
        for file in files:
            shutil.copy(folder / file, top / name)
    return top


@pytest.fixture
def table(folder):
    """A table beside the folder's images."""

    def write(*rows, header=("file", "label", "kind")):
        path = folder / "table.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return path

    return write


@pytest.fixture
def labels(table):
    return table(("a.png", "cat", "pet"), ("b.JPG", "dog", "pet"), ("sub/c.png", "car", ""))


def test_folder_of_classes_is_measured_as_the_python_call_measures_it(run, classes):
    document = json.loads(run("eval", "zero-shot", classes, *QUICK, "--json").stdout)
    data = evaluation.read_labelled_folder(classes)
    expected = evaluation.zero_shot(
        mmencode.load("fake"),
        "image",
        data.items,
        data.labels,
        sampling=evaluation.Sampling(resamples=100),
        origin=data.origin,
    )
    assert document == expected.to_dict()
    assert document["data"]["items"] == 3


def test_text_says_the_figures_and_what_was_left_out_is_listed(run, classes):
    result = run("eval", "zero-shot", classes, *QUICK)
    assert "top-1" in result.stdout
    assert "left out: 1" in result.stdout
    assert "cat/broken.png\t" in result.stderr


def test_column_is_chosen_and_rows_without_a_label_are_left_out_and_said(run_json, table):
    path = table(("a.png", "1", "cat"), ("b.JPG", "2", "dog"), ("sub/c.png", "3", ""))
    document = run_json("eval", "zero-shot", path, "--column", "kind", *QUICK)
    assert [one["label"] for one in document["classes"]] == ["cat", "dog"]
    assert document["left_out"] == [{"source": "row 2", "reason": "no value in 'kind'"}]


def test_file_column_and_names_are_taken(run_json, table, tmp_path):
    path = table(("n1", "a.png"), ("n2", "b.JPG"), header=("code", "path"))
    names = tmp_path / "names.jsonl"
    names.write_text('{"code": "n1", "name": "tench"}\n{"code": "n2", "name": "goldfish"}\n')
    document = run_json("eval", "zero-shot", path, "--file-column", "path", "--names", names, *QUICK)
    assert {one["label"] for one in document["classes"]} == {"tench", "goldfish"}


def test_templates_depths_samples_and_seeds_are_taken(run_json, labels):
    options = ("--template", "a {label}", "--template", "{label}", "-k", 2, "--sample", 2, "--seed", 5)
    document = run_json("eval", "zero-shot", labels, *options, *QUICK)
    assert document["templates"] == ["a {label}", "{label}"]
    assert [figure["name"] for figure in document["figures"]] == ["top-2", "mean per class"]
    assert document["sampling"] == {"sample": 2, "seed": 5, "resamples": 100}
    assert document["data"]["items"] == 2


def test_pairs_are_measured_as_the_python_call_measures_them(run_json, labels):
    document = run_json("eval", "retrieval", labels, "--template", "a {label}", *QUICK)
    read = evaluation.read_paired_table(labels, template="a {label}")
    expected = evaluation.retrieval(
        mmencode.load("fake"), read.pairs, sampling=evaluation.Sampling(resamples=100), origin=read.origin
    )
    assert document == expected.to_dict()
    assert document["data"]["captions"] == 3


def test_several_columns_of_captions_are_taken(run_json, labels):
    document = run_json("eval", "retrieval", labels, "--column", "label", "--column", "kind", *QUICK)
    assert (document["data"]["pairs"], document["data"]["captions"]) == (5, 4)
    assert len(document["left_out"]) == 1


def test_recordings_are_measured(run_json, recordings):
    path = recordings / "table.jsonl"
    path.write_text('{"f": "200.wav", "c": "a low tone"}\n{"f": "2000.wav", "c": "a high tone"}\n')
    for kind in ("zero-shot", "retrieval"):
        document = run_json("eval", kind, path, "--modality", "audio", *QUICK)
        assert document["space"]["towers"].keys() == {"audio", "text"}


@pytest.mark.parametrize("kind", ["zero-shot", "retrieval"])
def test_report_is_written_as_a_page_or_as_json(run, labels, tmp_path, kind):
    run("eval", kind, labels, *QUICK, "-o", tmp_path / "report.md")
    assert (tmp_path / "report.md").read_text().startswith(f"# {kind} in fake@")
    stdout = run("eval", kind, labels, *QUICK, "-o", tmp_path / "report.json", "--json").stdout
    assert (tmp_path / "report.json").read_text() == stdout


@pytest.mark.parametrize("kind", ["zero-shot", "retrieval"])
@pytest.mark.parametrize("out", ["report.html", "report", "nowhere/report.md"])
def test_report_that_could_not_be_written_is_refused_before_the_work(run, labels, tmp_path, kind, out):
    run("eval", kind, labels, "-o", tmp_path / out, code=2)


@pytest.mark.parametrize(
    "options",
    [
        ("-k", 0),
        ("--sample", 0),
        ("--resamples", 99),
        ("--template", "a photo"),
    ],
)
@pytest.mark.parametrize("kind", ["zero-shot", "retrieval"])
def test_arguments_that_make_no_sense_are_exit_code_two(run, labels, kind, options):
    run("eval", kind, labels, *options, code=2)


def test_template_that_is_there_twice_is_exit_code_two(run, labels):
    twice = ("--template", "a {label}") * 2
    assert "template 'a {label}' is there twice" in run("eval", "zero-shot", labels, *twice, code=2).stderr


@pytest.mark.parametrize("kind", ["zero-shot", "retrieval"])
def test_table_of_another_format_is_exit_code_two(run, folder, kind):
    assert "no table that can be read" in run("eval", kind, folder / "note.txt", code=2).stderr


def test_columns_of_a_folder_are_exit_code_two(run, classes):
    assert "has no columns" in run("eval", "zero-shot", classes, "--column", "label", code=2).stderr


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("zero-shot", ("--column", "colour"), "the table has no column 'colour'"),
        ("retrieval", ("--column", "colour"), "the table has no column 'colour'"),
        ("retrieval", ("--file-column", "colour"), "the table has no column 'colour'"),
        ("zero-shot", ("-k", 4), "k is 4, and there are 3 classes"),
        ("retrieval", ("-k", 4), "k is 4, and there are 3 candidates"),
        ("zero-shot", ("--column", "kind"), "there is one class, 'pet'"),
        ("zero-shot", ("--space", "nowhere"), "nowhere"),
    ],
)
def test_data_that_cannot_be_measured_is_exit_code_one(run, labels, kind, options, said):
    assert said in run("eval", kind, labels, *options, code=1).stderr


def test_class_without_files_is_exit_code_one(run, classes):
    (classes / "bird").mkdir()
    assert "class 'bird' has no files" in run("eval", "zero-shot", classes, code=1).stderr


@pytest.mark.parametrize("kind", ["zero-shot", "retrieval"])
def test_files_that_are_all_missing_are_exit_code_one(run, table, kind):
    path = table(("x.png", "cat", ""), ("y.png", "dog", ""))
    assert "none of" in run("eval", kind, path, code=1).stderr


@pytest.mark.parametrize("kind", ["zero-shot", "retrieval"])
def test_table_that_is_not_there_is_exit_code_one(run, tmp_path, kind):
    assert "it can't be read" in run("eval", kind, tmp_path / "none.csv", code=1).stderr


@pytest.mark.parametrize("kind", ["zero-shot", "retrieval"])
def test_each_has_an_example_in_its_help(run, kind):
    assert f"Example: mmencode eval {kind}" in run("eval", kind, "--help").stdout


def test_set_of_templates_goes_by_its_name(run_json, run, classes):
    found = run_json("eval", "zero-shot", classes, "--template-set", "simple")
    assert found["templates"] == ["simple"]
    wrong = run("eval", "zero-shot", classes, "--template-set", "simpel", code=1)
    assert "did you mean simple" in wrong.stderr
