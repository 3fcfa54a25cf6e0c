"""A fresh virtual environment with mmencode and plugins installed for real.

Heavy packages are borrowed from the environment that runs the tests; mmencode and the plugins are installed
by pip, so entry points, metadata and import order are those that a user has.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]


def install(folder: Path, *projects: Path) -> Path:
    """Make the environment `folder`/venv with mmencode and these projects, and give its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    site = next((folder / "venv" / "lib").iterdir()) / "site-packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", site, ROOT, *projects], check=True)
    # Lower in the path than the environment's own packages, so mmencode is the one installed here.
    (site / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return folder / "venv" / "bin" / "python"


def run(python: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run that interpreter in a folder, without what this one's environment would tell it."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("COV", "PYTHON", "PYTEST"))
    }
    return subprocess.run([python, *arguments], capture_output=True, text=True, cwd=cwd, env=environment)
