"""Commands whose standard streams are closed, or full: an error in words, or none, and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="closes streams as a shell does")


def run(line, redirection):
    shell = f'exec "$0" -m mmencode.cli {line} {redirection}'
    return subprocess.run(["sh", "-c", shell, sys.executable], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("line", ["list", "--help", "list --json"])
def test_closed_output_is_said(line):
    done = run(line, ">&-")
    assert (done.returncode, done.stderr) == (1, "error: standard output is closed\n")


def test_full_output_is_said():
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    for line in ("list", "--help"):
        done = run(line, ">/dev/full")
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr


def test_closed_input_is_said_by_who_reads_it():
    done = run("encode text -", "<&-")
    assert done.returncode == 1
    assert "standard input is closed" in done.stderr
    assert "Traceback" not in done.stderr


def test_closed_input_disturbs_nobody_else():
    done = run("list", "<&-")
    assert (done.returncode, done.stderr) == (0, "")
    assert "default" in done.stdout or "offline" in done.stdout


def test_command_works_without_standard_error():
    assert run("list", "2>&-").returncode == 0


def test_what_is_written_to_a_file_is_whole_whatever_is_closed(tmp_path):
    path = tmp_path / "vectors.npz"
    assert run(f"encode text hello -o {path}", "<&- >&- 2>&-").returncode == 1  # the summary can't be printed
    assert np.load(path)["vectors"].shape == (1, 384)
