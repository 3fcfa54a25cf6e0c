from __future__ import annotations

import pytest

import mmencode
from mmencode.plugins.spec import Scoring

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


def test_set_of_templates_is_taken_by_name(run_json, folder):
    document = run_json("classify", folder, *LABELS, "--template-set", "simple", "-k", 1)
    names = [row["item"] for row in document["results"]]
    expected = mmencode.load("fake").classifier(["cat", "dog", "car"], "simple").classify("image", names)
    assert [row["labels"][0]["score"] for row in document["results"]] == [
        row[0][1] for row in expected.top(1)
    ]


def test_synonyms_come_from_a_file(run_json, folder, tmp_path):
    path = tmp_path / "synonyms.txt"
    path.write_text("car: automobile, motor car\n\ncat: kitten\n")
    document = run_json("classify", folder / "a.png", *LABELS, "--synonyms-file", path)
    others = {"car": ["automobile", "motor car"], "cat": ["kitten"]}
    classifier = mmencode.load("fake").classifier(["cat", "dog", "car"], synonyms=others)
    expected = classifier.classify("image", [str(folder / "a.png")])
    found = [(best["label"], best["score"]) for best in document["results"][0]["labels"]]
    assert found == expected.top(3)[0]


@pytest.mark.parametrize("line", ["car", "car:", ": auto", "car: auto\ncar: van", "lorry: truck"])
def test_synonyms_that_name_no_label_or_no_word_are_exit_code_two(run, folder, tmp_path, line):
    path = tmp_path / "synonyms.txt"
    path.write_text(line)
    run("classify", folder, *LABELS, "--synonyms-file", path, code=2)


def test_labels_below_the_threshold_are_not_shown(run_json, folder):
    shown = run_json("classify", folder / "a.png", *LABELS)["results"][0]["labels"]
    between = (shown[0]["score"] + shown[1]["score"]) / 2
    document = run_json("classify", folder / "a.png", *LABELS, "--threshold", between)
    assert document["results"][0]["labels"] == shown[:1]
    document = run_json("classify", folder / "a.png", *LABELS, "--threshold", 2)
    assert document["results"][0]["labels"] == []


def test_item_without_labels_keeps_its_row_and_all_columns(run, folder):
    lines = run("classify", folder / "a.png", *LABELS, "--threshold", 2).stdout.splitlines()
    assert lines == ["item\t1.\tscore 1", f"{folder / 'a.png'}\t\t"]


def test_multi_label_shows_all_labels_that_count(run_json, folder):
    labels = ("--labels", "cat,dog,car,tree,house")
    document = run_json("classify", folder / "a.png", *labels, "--multi-label", "--threshold", -1)
    assert len(document["results"][0]["labels"]) == 5
    document = run_json("classify", folder / "a.png", *labels, "--multi-label", "--threshold", -1, "-k", 2)
    assert len(document["results"][0]["labels"]) == 2


def test_what_fits_a_null_text_better_has_no_label(run_json, folder):
    best = run_json("classify", folder / "a.png", *LABELS)["results"][0]["labels"][0]["label"]
    others = ",".join(label for label in ("cat", "dog", "car") if label != best)
    document = run_json("classify", folder / "a.png", "--labels", others, "--null", best)
    assert document["results"][0]["labels"] == []


def test_probabilities_are_shown_where_the_space_has_a_scale(run_json, run, folder, monkeypatch):
    scoring = Scoring(kind="softmax", scale=10.0)
    monkeypatch.setattr("mmencode.spaces.space.Space.scoring", lambda space, modality: scoring)
    labels = run_json("classify", folder / "a.png", *LABELS)["results"][0]["labels"]
    assert sum(best["probability"] for best in labels) == pytest.approx(1)
    lines = run("classify", folder / "a.png", *LABELS, "-k", 1).stdout.splitlines()
    assert lines[0] == "item\t1.\tscore 1\tprobability 1"


@pytest.mark.parametrize(
    "options",
    [
        ("--template-set", "nonsense"),
        ("--template-set", "simple", "--template", "{label}"),
        ("--multi-label",),
        ("--labels", "?!"),
        ("--threshold", "nan"),
    ],
)
def test_options_that_make_no_classifier_are_exit_code_two(run, folder, options):
    run("classify", folder, *LABELS, *options, code=2)


@pytest.mark.parametrize("option", ["--labels-file", "--synonyms-file"])
def test_file_that_is_no_text_is_exit_code_two(run, folder, tmp_path, option):
    path = tmp_path / "words.txt"
    path.write_bytes(b"caf\xe9: \xff\xfe")
    run("classify", folder, *LABELS, option, path, code=2)


@pytest.mark.parametrize("sign", ["\u2028", "\x0c", "\x85", "\x1c"])
def test_labels_and_synonyms_are_split_at_line_ends_only(run_json, folder, tmp_path, sign):
    labels, synonyms = tmp_path / "labels.txt", tmp_path / "synonyms.txt"
    labels.write_text(f"red{sign}car\r\ncat\n", encoding="utf-8", newline="")
    synonyms.write_text(f"cat: puss{sign}cat, kitten\r\n", encoding="utf-8", newline="")
    options = ("--labels-file", labels, "--synonyms-file", synonyms)
    document = run_json("classify", folder, *options)
    assert {entry["label"] for entry in document["results"][0]["labels"]} == {f"red{sign}car", "cat"}


def test_labels_that_are_the_same_are_kept_where_they_are_meant(run, run_json, folder):
    refused = run("classify", folder, "--labels", "cat,cat", code=2)
    assert "--duplicates keep" in " ".join(refused.output.split())
    document = run_json("classify", folder, "--labels", "cat,cat", "--duplicates", "keep")
    assert [entry["label"] for entry in document["results"][0]["labels"]] == ["cat", "cat"]
    scores = [entry["score"] for entry in document["results"][0]["labels"]]
    assert scores[0] == scores[1]


def test_one_label_has_no_probability_and_a_note_says_what_to_add(run, run_json, folder, monkeypatch):
    scoring = Scoring(kind="softmax", scale=10.0)
    monkeypatch.setattr("mmencode.spaces.space.Space.scoring", lambda space, modality: scoring)
    result = run("classify", folder, "--labels", "cat")
    assert "probability" not in result.stdout
    assert "--null" in result.stderr
    assert "probability" not in run_json("classify", folder, "--labels", "cat")["results"][0]["labels"][0]
    assert "probability" in run("classify", folder, "--labels", "cat", "--null", "a photo").stdout
