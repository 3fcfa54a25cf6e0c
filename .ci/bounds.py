"""Say what the bounds in every pyproject.toml of this repository come to, by uv's resolver.

python .ci/bounds.py lowest [DISTRIBUTION...]
    prints constraints for what users of these distributions of ours, or of all, are asked for: each package
    at the lowest version that is declared
python .ci/bounds.py beside vllm==0.33.0
    resolves mmencode and mmencode-offline beside other packages on each Python that is promised
python .ci/bounds.py wheels
    makes sure that users on each Python and platform that is promised get all they are asked for as wheels

Needs uv and a package index, and installs nothing. The extras dev and docs, which are tools and what only
tests import, have no part in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
OF_DEVELOPERS = {"dev", "docs"}
# As uv calls them. PyAV's wheels are for macOS 14 and later.
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-apple-darwin", "x86_64-pc-windows-msvc")
MACOS = {"MACOSX_DEPLOYMENT_TARGET": "14.0"}
SHOWN = ("torch", "torchvision", "torchaudio", "transformers", "numpy", "pillow")


def main() -> None:
    """Print what was asked for, or say what is wrong and exit with 1."""
    match sys.argv[1:]:
        case ["lowest", *chosen]:
            print("\n".join(lowest(chosen)))
        case ["beside", *packages] if packages:
            every = projects()
            asked = [*packages, *needs("mmencode", every), *needs("mmencode-offline", every)]
            for python in promised():
                found = resolve(asked, python, "highest")
                shown = (
                    f"{name} {found[name]}" for name in (*SHOWN, *map(name_of, packages)) if name in found
                )
                print(f"Python {python}: {', '.join(shown)}")
        case ["wheels"]:
            every = projects()
            asked = [line for name in every for line in needs(name, every)]
            for python, platform in product(promised(), PLATFORMS):
                only = ("--only-binary", ":all:", "--python-platform", platform)
                found = resolve(asked, python, "highest", *only)
                print(f"Python {python}, {platform}: {len(found)} wheels, torch {found['torch']}")
        case _:
            sys.exit(__doc__)


def lowest(chosen: list[str]) -> list[str]:
    """List constraints, after making sure that each distribution and extra is to be had at its bounds."""
    every = projects()
    python = promised()[0]
    sets = {name: with_own(name, every) for name in every}
    for name in every:
        sets |= {f"{name}[{extra}]": [*sets[name], *lines] for extra, lines in extras(name, every)}
    wrong = [f"{name}: {line}" for name, asked in sets.items() for line in out_of_reach(asked, python)]
    if wrong:
        sys.exit("what is declared can't be installed beside the rest:\n  " + "\n  ".join(wrong))
    asked = [line for name in chosen or every for line in needs(name, every)]
    found = resolve(asked, python, "lowest-direct")
    return [f"{name}=={found[name]}" for name in sorted(set(map(name_of, asked)))]


def out_of_reach(asked: list[str], python: str) -> Iterator[str]:
    """Say which requirements have no lower bound, or one below what the others let pip install."""
    bounds: dict[str, Version] = {}
    for requirement in map(Requirement, asked):
        low = [Version(one.version) for one in requirement.specifier if one.operator in (">=", "==")]
        if not low:
            yield f"{requirement} has no lower bound"
        name = canonicalize_name(requirement.name)
        bounds[name] = max([*low, bounds.get(name, Version("0"))])
    found = resolve(asked, python, "lowest-direct")
    for name, bound in bounds.items():
        # What others ask for in their latest release may not be asked for in all that fit.
        if found[name] != bound and isinstance(resolved([*asked, f"{name}=={bound}"], python), str):
            yield f"{name} from {bound} is declared, and {found[name]} is the lowest that can be installed"


def projects() -> dict[str, dict[str, Any]]:
    """Read the table `project` of each distribution, by its name."""
    files = [ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))]
    tables = [tomllib.loads(file.read_text(encoding="utf-8"))["project"] for file in files]
    return {table["name"]: table for table in tables}


def with_own(name: str, every: dict[str, dict[str, Any]]) -> list[str]:
    """List what a distribution of ours and those of ours that it depends on need, without its extras."""
    return list(others(every[name]["dependencies"], every))


def needs(name: str, every: dict[str, dict[str, Any]]) -> list[str]:
    """List what users of a distribution are asked for, extras included, without our own distributions."""
    return [*with_own(name, every), *(line for _, lines in extras(name, every) for line in lines)]


def extras(name: str, every: dict[str, dict[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """Yield each extra for users with what it asks for, without our own distributions."""
    for extra, lines in every[name].get("optional-dependencies", {}).items():
        if extra not in OF_DEVELOPERS:
            yield extra, list(others(lines, every))


def others(lines: Iterable[str], every: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield requirements, with what distributions of ours need in the place of these."""
    for line in lines:
        if name_of(line) not in every:
            yield line
            continue
        own = every[name_of(line)]
        yield from others(own["dependencies"], every)
        for extra in sorted(Requirement(line).extras):
            yield from others(own["optional-dependencies"][extra], every)


def name_of(line: str) -> str:
    """The normalised name in a requirement."""
    return canonicalize_name(Requirement(line).name)


def promised() -> list[str]:
    """List the minor versions of Python that the core's classifiers name, lowest first."""
    prefix = "Programming Language :: Python :: 3."
    classifiers = projects()["mmencode"]["classifiers"]
    return [f"3.{one.removeprefix(prefix)}" for one in classifiers if one.startswith(prefix)]


def resolve(asked: list[str], python: str, resolution: str, *options: str) -> dict[str, Version]:
    """Resolve requirements to a version of each package, or exit with what uv says."""
    found = resolved(asked, python, resolution, *options)
    if isinstance(found, str):
        sys.exit(f"Python {' '.join([python, *options])}: {found}")
    return found


def resolved(
    asked: list[str], python: str, resolution: str = "lowest-direct", *options: str
) -> dict[str, Version] | str:
    """Resolve requirements to a version of each package, or say in uv's words why that can't be."""
    command = ["uv", "pip", "compile", "-", "--quiet", "--no-header", "--no-annotate", "--no-sources"]
    command += ["--python-version", python, "--resolution", resolution, *options]
    environment = {**os.environ, **MACOS}
    done = subprocess.run(command, input="\n".join(asked), capture_output=True, text=True, env=environment)
    if done.returncode:
        return done.stderr
    pins = (line.partition(";")[0].partition("==") for line in done.stdout.splitlines() if "==" in line)
    return {canonicalize_name(name): Version(version.strip()) for name, _, version in pins}


if __name__ == "__main__":
    main()
