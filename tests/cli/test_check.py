"""`mmencode check` on fakes, good and broken; test_new_plugin.py has one that is really installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from unittest import SkipTest

import pytest
import torch
from safetensors.torch import save_file

from mmencode.plugins.spec import EncoderSpec
from mmencode.testing import EncoderConformance, FakeText, checks, sample_items

BROKEN = EncoderSpec(name="broken", modality="text", target=f"{__name__}:ShiftedRows", dim=8)
ABSENT = EncoderSpec(name="absent", modality="text", target="no_such_module:Encoder", dim=8)
FAMILY = EncoderSpec(name="many/*", modality="text", target=f"{__name__}:member")


class ShiftedRows(FakeText):
    def forward(self, tensors):
        return super().forward(tensors).roll(1, dims=0)


def member(variant):
    return FakeText()


@pytest.fixture
def alone(monkeypatch):
    """Skip the checks that ask another process, which doesn't know the fakes."""

    def refuse(*_, **__):
        raise SkipTest("no other process here")

    monkeypatch.setattr("subprocess.run", refuse)


@pytest.fixture
def run(alone, run):
    return run


@pytest.fixture
def images(tmp_path):
    for number, image in enumerate(sample_items("image", 4)):
        image.save(tmp_path / f"{number}.png")
    return tmp_path


def test_encoder_that_keeps_the_contract_passes_every_check(run):
    result = run("check", "fake/image")
    header, *rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert header == ["check", "protects", "state", "reason"]
    assert len(rows) == 1 + len(list(checks(EncoderConformance)))
    assert {row[2] for row in rows} == {"passed", "skipped"}
    assert ["one_item_is_a_batch", "The smallest batch gives an array of one row", "passed", ""] in rows
    assert [
        "unicode_is_text",
        "Every script and emoji gets a vector",
        "skipped",
        "only for text encoders",
    ] in rows
    assert result.stderr.startswith("fake/image keeps the contract: ")


def test_broken_encoder_fails_by_the_check_that_protects_what_it_breaks(run, run_json, install):
    install(zoo=(BROKEN,))
    (found,) = run_json("check", "broken", code=1)
    assert found["encoder"] == "broken"
    assert found["state"] == "failed"
    states = {row["check"]: row["state"] for row in found["checks"]}
    assert states["vector_does_not_depend_on_batch_size"] == "failed"
    assert states["encoder_is_in_eval_mode"] == "passed"
    reasons = {row["check"]: row["reason"] for row in found["checks"]}
    reason = reasons["vector_does_not_depend_on_neighbours"]
    assert reason.startswith("in a batch and alone: the vectors differ by")


@pytest.mark.slow
def test_space_is_checked_encoder_by_encoder(run, run_json):
    found = run_json("check", "default")
    assert [row["encoder"] for row in found] == ["fake/audio", "fake/image", "fake/text"]
    titles = [line for line in run("check", "fake").stdout.splitlines() if line.startswith("# ")]
    assert titles == ["# fake/audio", "# fake/image", "# fake/text"]


def test_member_of_a_family_is_checked_by_its_name_and_the_family_is_not(run, install):
    install(lib=(FAMILY,))
    assert "many/one keeps the contract" in run("check", "many/one").stderr
    assert "stands for many encoders" in run("check", "many/*", code=1).stderr


def test_encoder_that_cannot_be_loaded_fails_once(run, run_json, install):
    install(zoo=(ABSENT, replace(ABSENT, name="lacking", requires=("no-such-package>=1",), install="get it")))
    (found,) = run_json("check", "absent", code=1)
    (row,) = found["checks"]
    assert (row["check"], row["state"]) == ("loads", "failed")
    cause = "its target 'no_such_module:Encoder' raised ModuleNotFoundError: No module named 'no_such_module'"
    assert row["reason"].startswith(f"EncoderError: encoder 'absent' can't be built: {cause}; reinstall")
    assert "absent can't be loaded: 1 failed" in run("check", "absent", code=1).stderr
    (found,) = run_json("check", "lacking", code=1)
    assert found["checks"][0]["reason"].endswith("no-such-package>=1 isn't installed; get it")


class Mute(Exception):
    def __str__(self):
        raise SystemExit("no words")


class Bomb(FakeText):
    def __init__(self):
        raise Mute


class Loud(FakeText):
    def preprocess(self, item):
        raise ValueError("\x1b[31m" + "x" * 5_000_000)


def test_reasons_are_short_lines_whatever_an_encoder_raises(run, run_json, install):
    bomb = replace(BROKEN, name="bomb", target=f"{__name__}:Bomb")
    install(zoo=(bomb, replace(bomb, name="loud", target=f"{__name__}:Loud")))
    (found,) = run_json("check", "bomb", code=1)
    assert "raised Mute: (its message can't be read: SystemExit)" in found["checks"][0]["reason"]
    output = run("check", "loud", code=1).output
    assert "\x1b" not in output
    assert max(map(len, output.splitlines())) < 2000


def test_unknown_name_is_an_error_with_suggestions(run):
    result = run("check", "fake/txet", code=1)
    assert "no encoder is called 'fake/txet'" in result.stderr
    assert "did you mean fake/text" in result.stderr


@pytest.mark.slow
def test_items_take_the_place_of_the_samples(run, images, monkeypatch):
    seen = []
    monkeypatch.setattr(
        EncoderConformance, "test_of_items", lambda self: seen.append(self.samples()), raising=False
    )
    files = [str(images / f"{number}.png") for number in range(4)]
    run("check", "fake/image", "--items", *files)
    run("check", "fake/image", "--items", images)
    run("check", "fake/text", "--items", "one", "--items", "two", "three")
    assert seen == [files, files, ["one", "two", "three"]]


def test_items_that_cannot_be_used_are_refused_before_any_check(run, images):
    (images / "4.png").write_bytes(b"no image")
    assert "4.png" in run("check", "fake/image", "--items", images, code=1).stderr
    assert "at least 3" in run("check", "fake/text", "--items", "one", "two", code=2).stderr
    assert "for one encoder" in run("check", "fake", "--items", "one", "two", "three", code=2).stderr
    assert "write --items before 'one'" in run("check", "fake/text", "one", code=2).stderr


def test_check_added_to_the_suite_is_run_and_its_failure_has_a_reason(run_json, monkeypatch):
    def fails(self):
        """Two and two. Nothing else."""
        assert len(self.samples()) == 5

    def exits(self):
        raise SystemExit(3)

    def skips(self):
        pytest.skip("pytest's way")

    for number, method in enumerate((fails, exits, skips)):
        monkeypatch.setattr(EncoderConformance, f"test_{number}", method, raising=False)
    (found,) = run_json("check", "fake/text", code=1)
    rows = {row["check"]: (row["protects"], row["state"], row["reason"]) for row in found["checks"]}
    assert rows["0"][:2] == ("Two and two", "failed")
    assert "5" in rows["0"][2]
    assert rows["1"] == ("", "failed", "SystemExit: 3")
    assert rows["2"] == ("", "skipped", "pytest's way")


def test_assertion_without_a_message_is_quoted():
    class Suite(EncoderConformance):
        def test_nothing(self):
            raise AssertionError

    (nothing,) = (found for found in checks(Suite) if found.name == "nothing")
    assert nothing.attempt().reason == "raise AssertionError"


def test_keyboard_interrupt_ends_the_run():
    class Suite(EncoderConformance):
        def test_long(self):
            raise KeyboardInterrupt

    (long,) = (found for found in checks(Suite) if found.name == "long")
    with pytest.raises(KeyboardInterrupt):
        long.attempt()


def test_checks_are_those_that_pytest_finds():
    names = {name.removeprefix("test_") for name in dir(EncoderConformance) if name.startswith("test_")}
    found = [check.name for check in checks(EncoderConformance)]
    assert set(found) == names
    assert len(found) == len(names)


@pytest.mark.slow
def test_python_without_assertions_is_refused():
    code = "from mmencode.testing import *; next(checks(EncoderConformance))"
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, timeout=300)
    assert "removes assertions" in done.stderr


def save_timm(folder):
    import timm

    save_file(timm.create_model("test_vit3").state_dict(), folder / "vit.safetensors")
    return f"timm/test_vit3/{folder}/vit.safetensors"


def save_openclip(folder):
    import open_clip

    vision = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
    config = {"embed_dim": 48, "vision_cfg": vision, "text_cfg": text}
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    document = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    return f"openclip/local-dir:{folder}"


def checked(name, threads=1):
    """What the command says to an installed encoder, in a process of its own.

    Threads cost small models more than they give, most of all on a busy machine.
    """
    command = [sys.executable, "-m", "mmencode.cli", "check", name, "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def assert_kept(done, *encoders):
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["encoder"].split("/")[0] for row in json.loads(done.stdout)] == list(encoders)
    assert done.stderr.count("keeps the contract") == len(encoders)


@pytest.mark.slow
def test_timm_encoder_of_a_local_file_keeps_the_contract(tmp_path):
    torch.manual_seed(7)
    assert_kept(checked(save_timm(tmp_path)), "timm")


@pytest.mark.slow
def test_openclip_encoders_of_a_local_folder_keep_the_contract(tmp_path):
    torch.manual_seed(7)
    assert_kept(checked(save_openclip(tmp_path)), "openclip-image", "openclip-text")


def test_help_has_an_example_and_hides_how_items_are_parsed(run):
    shown = run("check", "--help").stdout
    assert "Example: mmencode check" in shown
    assert "more" not in shown
