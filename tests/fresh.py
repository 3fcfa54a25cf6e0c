"""A fresh virtual environment with mmencode and plugins installed for real.

Heavy packages, pip and pytest are borrowed from the environment that runs the tests; mmencode and the plugins
are built as wheels and installed by pip, so scripts, entry points, metadata and import order are those that a
user has. Nothing here needs a package index.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import (
    Distribution,
    PackageNotFoundError,
    PathDistribution,
    distribution,
    entry_points,
)
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
# What tests use that run in a fresh environment: pyproject.toml has a setting of pytest-timeout's.
LENT = ("pip", "pytest", "pytest-timeout", "hatchling")
# Builds without an environment of their own: a false value turns that off, whatever the name says.
PIP = {"PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
SCRIPT = "#!{python}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"


PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1.0"
dependencies = ["{requires}"]

[project.entry-points.mmencode]
{module} = "{entry}"

[tool.hatch.build.targets.wheel]
packages = ["{module}"]
"""


def write_pyproject(
    folder: Path, name: str, module: str, *, entry: str | None = None, requires: str = "mmencode>=0.1"
) -> None:
    """Write the pyproject.toml of a plugin of one module; that is its entry point unless another is named."""
    text = PYPROJECT.format(name=name, module=module, entry=entry or module, requires=requires)
    (folder / "pyproject.toml").write_text(text)


def build(folder: Path, *projects: Path) -> list[Path]:
    """The wheels of these projects, written into a folder."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder]
    subprocess.run([*pip, *projects], check=True, env={**os.environ, **PIP}, timeout=300)
    return sorted(folder.glob("*.whl"))


def install(folder: Path, *wheels: Path, needs: Iterable[str] | None = None) -> Path:
    """Make the virtual environment `folder` with these wheels, and give its interpreter.

    With `needs`, only these requirements and what the wheels declare are borrowed, and nothing else is there.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=300)
    python = folder / "bin" / "python"
    site = next((folder / "lib").iterdir()) / "site-packages"
    # Lower in the path than the environment's own packages, so mmencode is the one installed here.
    sources: list[str | Path] = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    if needs is not None:
        sources = link(folder / "borrowed", declared(wheels, [*needs, *LENT]))
    (site / "borrowed.pth").write_text("".join(f"{source}\n" for source in sources))
    for name in ("pip", "pytest"):
        (script,) = entry_points(group="console_scripts", name=name)
        path = folder / "bin" / name
        path.write_text(SCRIPT.format(python=python, module=script.module, function=script.attr))
        path.chmod(0o755)
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed"]
    subprocess.run([*pip, *wheels], check=True, env=environment(python), timeout=300)
    return python


def declared(wheels: Iterable[Path], needs: Iterable[str]) -> list[Distribution]:
    """The distributions installed here that wheels or requirements ask for, or what they ask for does."""
    found: dict[tuple[str, str], Distribution] = {}
    left = [requirement for wheel in wheels for requirement in asked(metadata(wheel), "")]
    left += map(Requirement, needs)
    while left:
        wanted = left.pop()
        for extra in ("", *wanted.extras):
            if (wanted.name.lower(), extra) not in found:
                try:
                    found[wanted.name.lower(), extra] = distribution(wanted.name)
                except PackageNotFoundError:  # for another platform's build, say, of a package that lies here
                    continue
                left += asked(found[wanted.name.lower(), extra], extra)
    return list(found.values())


def metadata(wheel: Path) -> Distribution:
    """What a wheel says about itself."""
    (folder,) = (path for path in zipfile.Path(wheel).iterdir() if path.name.endswith(".dist-info"))
    return PathDistribution(folder)


def asked(of: Distribution, extra: str) -> Iterator[Requirement]:
    """The requirements that hold on this machine, with an extra's or without."""
    for line in of.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def link(folder: Path, distributions: Iterable[Distribution]) -> list[str | Path]:
    """Folders with links to all that these distributions installed, but for editable ones.

    There is one for each place that they lie in, in the order of the path, so that a namespace that is spread
    over several places is so here as well.
    """
    folder.mkdir()
    places: dict[str, Path] = {}
    for found in distributions:
        place = str(found.locate_file(""))
        here = places.setdefault(place, folder / str(len(places)))
        here.mkdir(exist_ok=True)
        names = {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}
        if not any("editable" in name for name in names):
            for name in names:
                if not (here / name).exists():
                    (here / name).symlink_to(str(found.locate_file(name)))
    return [places[place] for place in sorted(places, key=sys.path.index)]


def environment(python: Path) -> dict[str, str]:
    """What a shell has where that interpreter's environment is active, and nothing about this one."""
    own = ("COV", "PYTHON", "PYTEST", "VIRTUAL_ENV")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(own)}
    return {**kept, **PIP, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}


def run(python: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run that interpreter in a folder."""
    return subprocess.run(
        [python, *arguments], capture_output=True, text=True, cwd=cwd, env=environment(python), timeout=300
    )


def shell(python: Path, line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Type a line into a shell in a folder, with that interpreter's environment active."""
    return subprocess.run(
        line, shell=True, capture_output=True, text=True, cwd=cwd, env=environment(python), timeout=300
    )


def distributions_of_plugins(*, declare_encoders: bool) -> set[str]:
    """The distributions in the folder plugins: those that mmencode finds, or those that hosts are given."""
    tables = [table_of(path.parent) for path in ROOT.glob("plugins/*/pyproject.toml")]
    found = {table["name"]: "mmencode" in table.get("entry-points", {}) for table in tables}
    return {name for name, declares in found.items() if declares == declare_encoders}


def table_of(project: Path) -> dict[str, Any]:
    """The table `project` of a distribution's pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def names_of(project: Path, *, extras: bool = False) -> set[str]:
    """The distributions that a project asks for, its extras as well when asked."""
    table = table_of(project)
    lines = list(table["dependencies"])
    for optional in table.get("optional-dependencies", {}).values() if extras else ():
        lines += optional
    return set(map(name_of, lines))


def name_of(line: str) -> str:
    """The normalised name in a requirement."""
    return canonicalize_name(Requirement(line).name)


def imported_by(path: Path) -> set[str]:
    """The top names of all that a file imports, but for its own package's parts."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
    return found
