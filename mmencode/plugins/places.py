"""Where an encoder's weights lie is no part of what it is: a name without the path in it."""

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
    """What the rest of a family member's name says besides the path in it; "" when there is none.

    `mean:/models/a` gives `mean:*`; of a folder, the digest of the settings in it follows, since weights
    alone don't say what is computed with them.
    """
    found = place_in(variant)
    if found is None:
        return ""
    start, end = found
    rest, path = f"{variant[:start]}*{variant[end:]}", Path(variant[start:end]).expanduser()
    return f"{rest} {_settings(path)}" if path.is_dir() else rest


def with_absolute_path(variant: str) -> str:
    """The rest of a name with its path made absolute: one that begins here or at home, or that of a file.

    A card is read in other folders than it was made in. What could be the id of a hub stays.
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
    """Whether the rest of a name is a whole path, behind one word at most: nothing is fetched by such a name.

    Another word before it, as in an id of a hub, or a path that only a setting has, makes it none.
    """
    return _LOCAL.match(variant) is not None


def place_in(variant: str) -> tuple[int, int] | None:
    """Where the path in the rest of a name begins and ends; None when there is none.

    A path is the longest part that exists and either begins like one (/, ./, ../, ~), is a file, or has a
    separator in it.
    """
    for start, end in _parts(variant):
        if variant[:start].endswith("/") and _ROOTED.match(variant):
            continue  # the end of a path that isn't there is none
        with suppress(OSError, ValueError, RuntimeError):  # too long, a null byte, no home, not to be read
            path = Path(variant[start:end]).expanduser()
            if _is_place(variant[start:end], path) and (path.is_file() or os.access(path, os.R_OK)):
                return start, end
    return None


def _parts(variant: str) -> list[tuple[int, int]]:
    """Where a path may begin and end, the longest first."""
    starts = [found.start() for found in _STARTS.finditer(variant)]
    ends = [found.start() for found in _ENDS.finditer(variant)]
    parts = [(start, end) for start in starts for end in ends if start < end]
    return sorted(parts, key=lambda part: part[0] - part[1])


def _is_place(written: str, path: Path) -> bool:
    looks = _ROOTED.match(written) or os.sep in written.rstrip(os.sep) or path.is_file()
    return bool(looks) and path.exists()


def _settings(folder: Path) -> str:
    """A digest of the small files in a folder that aren't weights, by their names."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        with suppress(OSError):  # what can't be read, no encoder has read
            if path.suffix in _SETTINGS and path.is_file() and path.stat().st_size <= _LARGEST:
                total.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return f"sha256:{total.hexdigest()}"
