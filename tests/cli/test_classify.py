from __future__ import annotations

import pytest

import mmencode

LABELS = ("--labels", "cat, dog,car")


def test_labels_are_ranked_as_the_python_call_ranks_them(run_json, folder):
    document = run_json("classify", folder, *LABELS, "-k", 2)
    names = [str(folder / name) for name in ("a.png", "b.JPG", "sub/c.png")]
    expected = mmencode.load("fake").classifier(["cat", "dog", "car"]).classify("image", names)
    assert [row["item"] for row in document["results"]] == names
    found = [[(best["label"], best["score"]) for best in row["labels"]] for row in document["results"]]
    assert found == expected.top(2)
    assert len(document["failed"]) == 1


def test_piped_rows_have_the_item_and_its_labels_with_scores(run, folder):
    lines = run("classify", folder / "a.png", *LABELS, "-k", 1).stdout.splitlines()
    assert lines[0] == "item\t1.\tscore 1"
    name, label, score = lines[1].split("\t")
    assert name == str(folder / "a.png")
    assert label in ("cat", "dog", "car")
    assert 0 < float(score) <= 1


def test_labels_come_from_a_file_too_and_may_hold_commas_there(run_json, folder, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("a red, old car\n\n")
    document = run_json("classify", folder / "a.png", *LABELS, "--labels-file", path, "-k", 9)
    assert {best["label"] for best in document["results"][0]["labels"]} == {
        "cat",
        "dog",
        "car",
        "a red, old car",
    }


def test_other_modality_and_templates_are_taken(run_json, recordings):
    templates = ("--template", "the sound of {label}", "--template", "{label}")
    document = run_json("classify", recordings, "--modality", "audio", *LABELS, *templates)
    assert len(document["results"]) == 2


def test_bad_items_are_listed_on_a_terminal_in_a_table(run, folder, terminal):
    result = run("classify", folder, *LABELS)
    assert "1 item failed" in result.stderr
    assert "broken.png" in result.stderr
    assert "Labels" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--labels", " , "),
        ("--labels", "a,a"),
        ("--labels", "a", "--template", "b"),
        ("--labels", "a", "-k", 0),
    ],
)
def test_wrong_labels_templates_or_counts_are_exit_code_two(run, folder, arguments):
    run("classify", folder, *arguments, code=2)


def test_folder_without_images_is_exit_code_one(run, recordings):
    assert "no image files" in run("classify", recordings, *LABELS, code=1).stderr


def test_control_characters_of_file_names_are_escaped(run, folder):
    (folder / "a.png").rename(folder / "a\x1b[31m\t.png")
    output = run("classify", folder / "a\x1b[31m\t.png", *LABELS).stdout
    assert "a\\x1b[31m\\t.png\t" in output
    assert "\x1b" not in output
