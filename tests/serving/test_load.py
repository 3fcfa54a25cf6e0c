"""Small versions of the benchmarks under load: nothing crashes, and each answer is the library's."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
ARGUMENTS = {
    "serving": ("--rounds", "1", "--seconds", "0.3", "--clients", "1", "4"),
    "serving_soak": ("--minutes", "0.1", "--growth", "512"),
}


def _run_all():
    spec = importlib.util.spec_from_file_location("run_all", BENCHMARKS / "run_all.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("name", ARGUMENTS)
def test_benchmark_runs_and_prints_a_machine_and_tables(name):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"{name}.py", *ARGUMENTS[name]],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    _run_all().require_tables(name, done.stdout)
