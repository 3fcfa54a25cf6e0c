"""Build what would be published, and say what is wrong with it.

python .ci/archives.py FOLDER
    builds each distribution's sdist, and from that its wheel, into the folder, and compares: an sdist holds
    nothing but files that git tracks, and the wheel out of it is, file by file, the one out of the tree

Needs build, hatchling and a package index. What hatchling says about itself in a wheel isn't compared.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MADE = {"PKG-INFO", ".gitignore"}  # by the build: the second is what it heeded
ABOUT_THE_BUILD = {"WHEEL", "RECORD"}


def main() -> None:
    """Build all into the folder that is named, and exit with 1 if something is wrong."""
    match sys.argv[1:]:
        case [folder]:
            projects = [ROOT, *sorted(ROOT.glob("plugins/*"))]
            wrong = [line for project in projects for line in differences(project, Path(folder).resolve())]
        case _:
            sys.exit(__doc__)
    if wrong:
        sys.exit("what would be published is wrong:\n  " + "\n  ".join(wrong))


def differences(project: Path, folder: Path) -> list[str]:
    """Build a project, and list what its sdist has too much, and in what its two wheels differ."""
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        build(project, here / "tree", "--wheel", "--no-isolation")  # first, as it leaves weights in the tree
        build(project, here / "published")
        (sdist,), (wheel,) = here.glob("published/*.tar.gz"), here.glob("published/*.whl")
        (other,) = here.glob("tree/*.whl")
        held, published, in_tree = files_of_sdist(sdist), files_of_wheel(wheel), files_of_wheel(other)
        folder.mkdir(parents=True, exist_ok=True)
        for path in (sdist, wheel):
            shutil.move(path, folder / path.name)
    listed = subprocess.run(["git", "ls-files"], cwd=project, check=True, capture_output=True, text=True)
    own = {name for name in listed.stdout.splitlines() if not name.startswith("plugins/")}
    wrong = [f"{sdist.name} holds {name}, which git doesn't track here" for name in held - own - MADE]
    wrong += [
        f"{wheel.name}: {name} isn't what it is in the wheel out of the tree"
        for name in published.keys() | in_tree.keys()
        if published.get(name) != in_tree.get(name)
    ]
    print(f"{sdist.name}: {len(held)} files; {wheel.name}: {len(published)}", flush=True)
    return sorted(wrong)


def build(project: Path, folder: Path, *options: str) -> None:
    """Have the package `build` write an sdist and the wheel out of it, or what the options say."""
    command = [sys.executable, "-m", "build", *options, "--outdir", str(folder), str(project)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{project.name} can't be built:\n{done.stdout}{done.stderr}")


def files_of_sdist(path: Path) -> set[str]:
    """The files of an sdist, without the folder that all are in."""
    with tarfile.open(path) as archive:
        return {member.name.partition("/")[2] for member in archive if not member.isdir()}


def files_of_wheel(path: Path) -> dict[str, int]:
    """The checksum of each file of a wheel, without what the build says about itself."""
    with zipfile.ZipFile(path) as archive:
        return {
            file.filename: file.CRC
            for file in archive.infolist()
            if Path(file.filename).name not in ABOUT_THE_BUILD
        }


if __name__ == "__main__":
    main()
