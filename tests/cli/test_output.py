"""Standard output is for results alone."""

from __future__ import annotations

import ast
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import mmencode.cli
import mmencode.testing
from mmencode.cli.output import QuietCommand
from mmencode.plugins.prints import RedirectedOutput, redirect_output
from mmencode.testing import Check, FakeText, fake_specs

SPECS = [replace(spec, aliases=("default",)) for spec in fake_specs()]


class NoisyText(FakeText):
    """Prints wherever its author could have left a line."""

    def __init__(self):
        super().__init__()
        print("building")

    def preprocess(self, item):
        print("preprocessing", item)
        return super().preprocess(item)

    def forward(self, tensors):
        sys.stdout.buffer.write(b"forward\n")
        sys.stdout.write("forward\n")
        return super().forward(tensors)


@pytest.fixture
def noisy(install):
    specs = [replace(one, target=f"{__name__}:NoisyText") if one.modality == "text" else one for one in SPECS]
    install(fakes=tuple(specs))


def test_what_an_encoder_prints_is_kept_out_of_the_results(run, noisy):
    result = run("classify", "-", "--modality", "text", "--labels", "cat,dog", "--json", input="one\ntwo\n")
    assert [row["item"] for row in json.loads(result.stdout)["results"]] == ["one", "two"]
    assert "building" in result.stderr
    assert "preprocessing one" in result.stderr
    assert "forward" in result.stderr
    assert isinstance(sys.stdout, RedirectedOutput) is False


def test_what_an_encoder_prints_while_it_is_checked_is_kept_out_too(run, noisy, monkeypatch):
    printing = Check("prints", "Nothing", lambda: print("checking"))
    monkeypatch.setattr(mmencode.testing, "checks", lambda suite: [printing])
    assert json.loads(run("check", "fake/text", "--json").stdout)[0]["encoder"] == "fake/text"


def test_every_command_and_every_command_of_a_group_is_a_quiet_one():
    from typer.main import get_command

    commands = [get_command(mmencode.cli.app)]
    for command in commands:
        commands += getattr(command, "commands", {}).values()
        assert hasattr(command, "commands") or isinstance(command, QuietCommand), command.name
    assert len(commands) > 15


def test_results_are_printed_through_output_alone():
    """What is echoed past `output` would go to standard error."""
    folder = Path(mmencode.cli.__file__).parent
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.echo", "print"):
                kept = {keyword.arg for keyword in node.keywords} & {"err", "file"}
                version = path.name == "__init__.py" and "__version__" in ast.unparse(node)
                assert kept or version, f"{path.name}:{node.lineno}: write with output.say"


def test_the_standard_output_comes_back_when_a_command_fails():
    before = sys.stdout
    with pytest.raises(ZeroDivisionError), redirect_output():
        raise ZeroDivisionError
    assert sys.stdout is before
