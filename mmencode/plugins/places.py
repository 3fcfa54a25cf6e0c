"""Paths to local weights in the names of encoders, which are no part of an encoder's identity."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

# A path may begin at the start of a member's name or behind one of these, and end before one of those.
_STARTS = re.compile(r"(?:^|(?<=[:=,/?@]))(?=.)")
_ENDS = re.compile(r"(?=[@?#&,;])|$")
_ROOTED = re.compile(r"[/\\~]|\.{1,2}[/\\]|[A-Za-z]:[/\\]")
_LOCAL = re.compile(r"(?!hf[-_]hub\b)(?:[\w-][\w.-]*[:/]|[\w.-]+\.)?/[^?#&,;@]")
_SETTINGS = (".json", ".yaml", ".yml", ".toml", ".txt", ".model")
_LARGEST = 2**26  # bytes of one file of settings, vocabularies included


def placeless(variant: str) -> str:
    """Replace the path in the rest of a family member's name by *; "" when there is no path in it.

    `mean:/models/a` gives `mean:*`. For a folder, the digest of the settings in it follows, since weights
    alone don't tell what is computed with them.
    """
    found = place_in(variant)
    if found is None:
        return ""
    start, end = found
    rest, path = f"{variant[:start]}*{variant[end:]}", Path(variant[start:end]).expanduser()
    return f"{rest} {_settings(path)}" if path.is_dir() else rest


def with_absolute_path(variant: str) -> str:
    """Make the path in the rest of a name absolute, where it begins with ., .. or ~, or is that of a file.

    A card may be read in another folder than it was made in. A path that could also be the id of a model on
    a hub stays as it is.
    """
    found = place_in(variant)
    if found is None:
        return variant
    start, end = found
    written = variant[start:end]
    path = Path(written).expanduser()
    if path.is_absolute() and not written.startswith("~"):
        return variant
    if not _ROOTED.match(written) and not path.is_file():
        return variant
    return f"{variant[:start]}{path.absolute()}{variant[end:]}"


def is_local(variant: str) -> bool:
    """Whether the rest of a name is an absolute path, after one word at most, so that nothing is fetched.

    It isn't when more words precede the path, as in an id of a hub, or when the path belongs to a setting.
    """
    return _LOCAL.match(variant) is not None


def place_in(variant: str) -> tuple[int, int] | None:
    """The start and the end of the path in the rest of a name; None when there is no path in it.

    A path is the longest part that exists and either begins like one (/, ./, ../, ~), is a file, or has a
    separator in it.
    """
    for start, end in _parts(variant):
        if variant[:start].endswith("/") and _ROOTED.match(variant):
            continue  # the end of a path that doesn't exist
        with suppress(OSError, ValueError, RuntimeError):  # too long, a null byte, no home, no permission
            path = Path(variant[start:end]).expanduser()
            if _is_place(variant[start:end], path) and (path.is_file() or os.access(path, os.R_OK)):
                return start, end
    return None


def _parts(variant: str) -> list[tuple[int, int]]:
    """The possible starts and ends of a path, the longest path first."""
    starts = [found.start() for found in _STARTS.finditer(variant)]
    ends = [found.start() for found in _ENDS.finditer(variant)]
    parts = [(start, end) for start in starts for end in ends if start < end]
    return sorted(parts, key=lambda part: part[0] - part[1])


def _is_place(written: str, path: Path) -> bool:
    looks = _ROOTED.match(written) or os.sep in written.rstrip(os.sep) or path.is_file()
    return bool(looks) and path.exists()


def _settings(folder: Path) -> str:
    """The digest of the names and contents of a folder's small files that aren't weights."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        with suppress(OSError):  # no encoder can have read such a file
            if path.suffix in _SETTINGS and path.is_file() and path.stat().st_size <= _LARGEST:
                total.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return f"sha256:{total.hexdigest()}"
