"""The folder of exported graphs, which are kept by digest and used again by the next process."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import warnings
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..._atomic import folder_aside
from ...card import json_digest
from ...errors.causes import describe_error

MODEL, DIGESTS = "model.onnx", "digests.json"


class Holder:
    """A new folder that goes when nobody holds this any more, and at the end of the process that made it."""

    folder: Path

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mmencode-"))
        weakref.finalize(self, _remove_own, self.folder, os.getpid())


@dataclass(frozen=True, slots=True)
class Kept:
    """A graph in a file; `old` says whether it was there already.

    Where nothing could be kept, `holder` is a folder that goes with it.
    """

    file: Path
    old: bool = False
    holder: Holder | None = None

    def forget(self) -> None:
        """Remove it, so that it is made anew."""
        shutil.rmtree(self.file.parent, ignore_errors=True)


def exports_folder() -> Path:
    """Find where exported graphs are kept: `mmencode/exports` in the user's folder of caches.

    That is the platform's own: $XDG_CACHE_HOME or ~/.cache, ~/Library/Caches, %LOCALAPPDATA%. OSError where
    the user has no home.
    """
    try:
        home = Path.home()
    except RuntimeError as cause:
        raise FileNotFoundError(str(cause)) from cause
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local"
    elif sys.platform == "darwin":
        root = home / "Library" / "Caches"
    else:
        given = os.environ.get("XDG_CACHE_HOME", "")
        root = given if os.path.isabs(given) else home / ".cache"
    return Path(root, "mmencode", "exports")


def keep(facts: Mapping[str, str], make: Callable[[Path], None]) -> Kept:
    """Find the graph of these facts, or have it made, whole or not at all.

    A damaged one is made anew, and where none can be kept it is made for this process, each with a
    RuntimeWarning.
    """
    try:
        target = exports_folder() / json_digest(facts)[:32]
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.path.lexists(target):
            if _is_whole(target):
                return Kept(target / MODEL, old=True)
            _warn(f"the exported graph in {target} is damaged, so it is made anew")
            _remove(target)
        return _write(target, make)
    except OSError as cause:
        _warn(
            f"exported graphs can't be kept, so each process makes its own: {describe_error(cause)}; let "
            "XDG_CACHE_HOME name a folder that can be written to"
        )
    holder = Holder()
    make(holder.folder / MODEL)
    return Kept(holder.folder / MODEL, holder=holder)


def _write(target: Path, make: Callable[[Path], None]) -> Kept:
    try:
        with folder_aside(target) as aside:
            aside.mkdir()
            make(aside / MODEL)
            (aside / DIGESTS).write_text(json.dumps(_digests(aside)))
    except FileExistsError:  # another process has made it meanwhile
        if not _is_whole(target):
            raise
    return Kept(target / MODEL)


def _is_whole(folder: Path) -> bool:
    """Whether all files of a graph are what was written."""
    try:
        expected = json.loads((folder / DIGESTS).read_bytes())
        return MODEL in expected and bool(expected == _digests(folder))
    except (OSError, ValueError, TypeError):
        return False


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != DIGESTS:
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _remove(target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink()


def _remove_own(folder: Path, process: int) -> None:
    if os.getpid() == process:  # not in one that was forked
        shutil.rmtree(folder, ignore_errors=True)


def _warn(said: str) -> None:
    warnings.warn(said, RuntimeWarning, stacklevel=3)
