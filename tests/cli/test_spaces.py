from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from joining import frame, measured

import mmencode
from mmencode import LabelAnchored, Linear
from mmencode.plugins.spec import EncoderSpec
from mmencode.projection import save_projection
from mmencode.spaces.folder import Saved, read_card, write_folder
from mmencode.testing import FakeImage, fake_specs, sample_items

OTHER = EncoderSpec(name="other", modality="image", target="mmencode.testing:FakeImage", dim=8)


@pytest.fixture
def mine(run, tmp_path):
    """The folder of a composed space."""
    run("compose", "mine", "-e", "text=fake/text", "-e", "image=fake/image", "-o", tmp_path / "mine")
    return tmp_path / "mine"


@pytest.fixture
def projection(run, install, tmp_path):
    """A file with a projection of the other encoder into the fakes' space."""
    install(fakes=fake_specs(), others=(OTHER,))
    anchors = mmencode.load("fake").encode("text", ["dog", "cat", "car"])
    path = tmp_path / "led.safetensors"
    save_projection(LabelAnchored(anchors, head=torch.nn.Linear(8, 3)), path)
    return path


@pytest.fixture
def change(monkeypatch):
    """Change how the fake images are read, without a word."""
    real = FakeImage.preprocess
    monkeypatch.setattr(
        FakeImage, "preprocess", lambda self, item: {"stripes": real(self, item)["stripes"].flip(0)}
    )


def test_composed_space_is_a_folder_and_its_card_is_printed(run, tmp_path):
    out = tmp_path / "mine"
    result = run("compose", "mine", "-e", "text=fake/text", "-e", "image=fake/image", "-o", out)
    space = mmencode.load(out)
    assert result.stdout == f"{space.card}\n"
    assert space.modalities == ("image", "text")
    np.testing.assert_array_equal(space.encode("text", ["a"]), mmencode.load("fake").encode("text", ["a"]))


def test_json_document_is_the_card_with_its_id(run_json, tmp_path):
    out = tmp_path / "mine"
    document = run_json("compose", "mine", "--encoder", "text=fake/text", "--out", out)
    card = json.loads((out / "card.json").read_text())
    assert document["id"] == mmencode.load(out).id
    assert document["folder"] == str(out)
    for key in ("name", "dim", "towers", "probes"):
        assert document[key] == card[key]


def test_projection_comes_from_a_file(run, projection, tmp_path):
    out = tmp_path / "mine"
    run("compose", "mine", "-e", "text=fake/text", "-e", f"image=other,{projection}", "-o", out)
    with mmencode.load(out) as space:
        found = mmencode.similarity(
            space.encode("image", sample_items("image", 2)), space.encode("text", ["a"])
        )
        assert found.shape == (2, 1)


def test_encoders_join_the_frame_whose_id_stays_but_for_the_name(run, install, tmp_path):
    clips = EncoderSpec(name="bare/clips", modality="clip", target="joining:Clips", dim=8)
    install(words=frame(), bare=(clips,))
    save_projection(measured(), tmp_path / "lead.safetensors")
    given = f"clip=bare/clips,{tmp_path / 'lead.safetensors'}"
    result = run("compose", "mine", "--frame", "words", "-e", given, "-o", tmp_path / "mine")
    assert "clip: bare/clips, which joined" in result.stdout
    with mmencode.load("words") as words, mmencode.load(tmp_path / "mine") as mine:
        assert mine.id == words.id.replace("words@", "mine@")
        assert mmencode.similarity(mine.encode("clip", [["a"]]), words.encode("text", ["a"]))[0, 0] > 0.99
    other = ("compose", "other", "--frame", "words", "-e", "text=words/text", "-o", tmp_path / "other")
    assert "defines text in the space 'words'" in run(*other, code=1).stderr


def test_folder_stands_wherever_a_space_is_named(run_json, mine, folder, tmp_path):
    out = tmp_path / "v.safetensors"
    document = run_json("encode", "text", "a dog", "--space", mine, "-o", out)
    assert document["space"] == mmencode.load(mine).id
    found = run_json("search", folder, "a dog", "--space", mine)
    assert found["space"] == mmencode.load(mine).id


def test_encoders_that_live_apart_are_exit_code_one_and_leave_nothing(run, install, tmp_path):
    install(fakes=fake_specs(), others=(OTHER,))
    out = tmp_path / "mine"
    result = run("compose", "mine", "-e", "text=fake/text", "-e", "image=other", "-o", out, code=1)
    assert "error: these encoders don't lead into one space" in result.stderr
    assert "remedy: fit a projection" in result.stderr
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())


def test_projection_that_nobody_fitted_is_exit_code_one(run, install, tmp_path):
    install(fakes=fake_specs(), others=(OTHER,))
    save_projection(Linear(torch.eye(8), torch.zeros(8)), tmp_path / "random.safetensors")
    option = f"image=other,{tmp_path / 'random.safetensors'}"
    result = run("compose", "mine", "-e", "text=fake/text", "-e", option, "-o", tmp_path / "mine", code=1)
    assert "doesn't say into which space it leads" in result.stderr


def test_unknown_names_and_files_are_exit_code_one_with_the_remedy(run, tmp_path):
    out = tmp_path / "mine"
    assert "did you mean fake/text" in run("compose", "m", "-e", "text=fake/txt", "-o", out, code=1).stderr
    assert "words of letters" in run("compose", "a b", "-e", "text=fake/text", "-o", out, code=1).stderr
    missing = f"text=fake/text,{tmp_path / 'no.safetensors'}"
    assert "no such file" in run("compose", "m", "-e", missing, "-o", out, code=1).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-e", "text=fake/text"], "Missing option '--out'"),
        (["-o", "mine"], "Missing option '--encoder'"),
        (["-e", "text", "-o", "mine"], "'text' isn't MODALITY=ENCODER"),
        (["-e", "=fake/text", "-o", "mine"], "'=fake/text' isn't MODALITY=ENCODER"),
        (["-e", "text=,file", "-o", "mine"], "'text=,file' isn't MODALITY=ENCODER"),
        (["-e", "text=fake/text", "-e", "text=other", "-o", "mine"], "text has two encoders"),
        (["-e", "text=fake/text", "-o", "no/mine"], "there is no folder no"),
        (["-e", "text=fake/text", "-o", "."], ". is there already"),
    ],
)
def test_wrong_usage_of_compose_is_exit_code_two(run, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert said in " ".join(run("compose", "mine", *arguments, code=2).stderr.split())
    assert not list(tmp_path.iterdir())


def test_unchanged_space_is_verified(run, mine):
    result = run("verify", mine)
    assert (
        result.stdout.splitlines()[0]
        == f"{mmencode.load(mine).id} against the card of {mmencode.load(mine).id}"
    )
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == ["image", "text"]
    assert result.stdout.count("degrees at most: same") == 2


def test_json_document_has_the_angles(run_json, mine):
    document = run_json("verify", mine)
    assert document["same"] is True
    assert document["space"] == document["card"] == mmencode.load(mine).id
    assert max(document["angles"].values()) < 1e-3
    assert document["changes"] == {"image": [], "text": []}
    assert document["skipped"] == []


def test_changed_space_is_exit_code_one(run, run_json, mine, change):
    assert "CHANGED" in run("verify", mine, code=1).stdout
    document = run_json("verify", mine, code=1)
    assert document["same"] is False
    assert document["angles"]["image"] > 1 > document["angles"]["text"]


def test_changed_weights_are_exit_code_one(run_json, mine, monkeypatch):
    real = FakeImage.__init__
    monkeypatch.setattr(FakeImage, "__init__", lambda self: (real(self), self.gain.data[0].add_(9))[0])
    document = run_json("verify", mine, code=1)
    assert document["changes"] == {"image": ["weights"], "text": []}
    assert document["angles"]["image"] > 1


def test_installed_space_is_compared_with_the_card_of_another(run_json, mine):
    document = run_json("verify", "fake", "--card", mine / "card.json")
    assert document["space"] == mmencode.load("fake").id
    assert document["card"] == mmencode.load(mine).id
    assert document["same"] is True


def test_installed_space_alone_has_nothing_to_compare_with(run):
    result = run("verify", "fake", code=1)
    assert "has no vectors to compare with" in result.stderr
    assert "remedy: take the card of a folder" in result.stderr


def test_what_is_no_space_is_exit_code_one(run, mine, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "has no card.json" in run("verify", tmp_path / "empty", code=1).stderr
    assert "did you mean fake" in run("verify", "fakee", code=1).stderr
    assert "there is no card" in run("verify", mine, "--card", tmp_path / "no.json", code=1).stderr
    (mine / "card.json").write_text("{}")
    assert "can't be read" in run("verify", mine, code=1).stderr


def test_wrong_usage_of_verify_is_exit_code_two(run):
    assert "missing argument" in run("verify", code=2).stderr.lower()


def test_a_folder_that_names_what_to_fetch_is_loaded_only_with_trust(run, install, tmp_path, folder):
    family = EncoderSpec(name="lib/*", modality="image", target="no_such_module:build")
    install(fakes=fake_specs(), lib=(family,))
    mmencode.load("fake").save(tmp_path / "mine")
    card = read_card(tmp_path / "mine")
    towers = [
        replace(tower, encoder="lib/x") if tower.modality == "image" else tower for tower in card.towers
    ]
    theirs = tmp_path / "theirs"
    write_folder(theirs, Saved(replace(card, towers=tuple(towers)), {}, {}))
    commands = (
        ("encode", "text", "a", "-o", tmp_path / "x.npz", "--space", theirs),
        ("classify", folder, "--labels", "a,b", "--space", theirs),
        ("search", folder, "words", "--space", theirs),
        ("eval", "zero-shot", folder.parent, "--space", theirs),
        ("verify", theirs),
    )
    for command in commands:
        refused = run(*command, code=1).stderr
        assert "'lib/x' for image" in refused
        assert "--trust" in refused
    run("encode", "text", "a", "-o", tmp_path / "x.npz", "--space", theirs, "--trust")
    assert len(mmencode.Embeddings.load(tmp_path / "x.npz")) == 1
