"""How the tests start: without torch, and on their share of the cores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def _run(code: str, **variables: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, **variables},
        cwd=Path(__file__).parent,
        check=True,
        timeout=300,
    )


def test_what_all_tests_import_imports_no_torch():
    _run("import sys, conftest; assert 'torch' not in sys.modules and 'numpy' not in sys.modules")


def test_processes_that_share_the_cores_compute_on_their_share():
    _run("import conftest, torch; assert torch.get_num_threads() == 1", PYTEST_XDIST_WORKER_COUNT="4096")
