"""A fresh virtual environment with mmencode and plugins installed for real.

Heavy packages, pip and pytest are borrowed from the environment that runs the tests; mmencode and the plugins
are built as wheels and installed by pip, so scripts, entry points, metadata and import order are those that a
user has. Nothing here needs a package index.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from importlib.metadata import entry_points
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Builds without an environment of their own: a false value turns that off, whatever the name says.
PIP = {"PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
SCRIPT = "#!{python}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"


def build(folder: Path, *projects: Path) -> list[Path]:
    """The wheels of these projects, written into a folder."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder]
    subprocess.run([*pip, *projects], check=True, env={**os.environ, **PIP})
    return sorted(folder.glob("*.whl"))


def install(folder: Path, *wheels: Path) -> Path:
    """Make the virtual environment `folder` with these wheels, and give its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    site = next((folder / "lib").iterdir()) / "site-packages"
    # Lower in the path than the environment's own packages, so mmencode is the one installed here.
    (site / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    for name in ("pip", "pytest"):
        (script,) = entry_points(group="console_scripts", name=name)
        path = folder / "bin" / name
        path.write_text(SCRIPT.format(python=python, module=script.module, function=script.attr))
        path.chmod(0o755)
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed"]
    subprocess.run([*pip, *wheels], check=True, env=environment(python))
    return python


def environment(python: Path) -> dict[str, str]:
    """What a shell has where that interpreter's environment is active, and nothing about this one."""
    own = ("COV", "PYTHON", "PYTEST", "VIRTUAL_ENV")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(own)}
    return {**kept, **PIP, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}


def run(python: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run that interpreter in a folder."""
    return subprocess.run(
        [python, *arguments], capture_output=True, text=True, cwd=cwd, env=environment(python)
    )


def shell(python: Path, line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Type a line into a shell in a folder, with that interpreter's environment active."""
    return subprocess.run(line, shell=True, capture_output=True, text=True, cwd=cwd, env=environment(python))
