"""What the command line costs before it does anything, in a process of its own."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from mmencode import __version__
from mmencode.cli import main

HEAVY = ["torch", "numpy", "PIL", "soundfile", "timm", "open_clip"]


def _loaded(*arguments: str) -> list[str]:
    """Which heavy modules a command has imported when it ends."""
    code = f"""
import json, sys
from mmencode.cli import app
try:
    app({list(arguments)})
except SystemExit:
    print(json.dumps([name for name in {HEAVY} if name in sys.modules]), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    return json.loads(done.stderr.splitlines()[-1])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["list"],
        ["plugins"],
        ["demo", "--help"],
        ["search", "--help"],
        ["map", "--help"],
        ["compose", "--help"],
        ["eval", "--help"],
        ["eval", "zero-shot", "--help"],
        ["verify", "--help"],
        ["compose", "mine"],
    ],
)
def test_command_that_only_lists_never_imports_torch_or_numpy(arguments):
    assert _loaded(*arguments) == []


def test_version_is_the_packages():
    done = subprocess.run(
        [sys.executable, "-m", "mmencode.cli", "--version"],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == f"mmencode {__version__}\n"


def test_main_runs_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["mmencode", "--version"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert capsys.readouterr().out == f"mmencode {__version__}\n"


def test_word_that_the_stream_cannot_hold_is_escaped(tmp_path):
    code = "import sys; sys.argv = ['mmencode', 'list', 'caf\u00e9*']; from mmencode.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        timeout=300,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_reader_that_goes_away_is_no_error(run, monkeypatch):
    def gone():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("mmencode.cli.listing.registry", gone)
    assert run("list", code=1).stderr == ""


def test_no_arguments_print_the_help(run):
    assert "Commands:" in run(code=2).output


def test_every_command_has_an_example_in_its_help(run):
    for command in (
        "demo",
        "encode",
        "classify",
        "search",
        "map",
        "list",
        "plugins",
        "info",
        "compose",
        "verify",
    ):
        assert f"Example: mmencode {command}" in run(command, "--help").stdout
