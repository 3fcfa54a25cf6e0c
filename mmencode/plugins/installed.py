"""The entry points of installed distributions, read one by one.

importlib.metadata's own `entry_points` fails altogether when one file of one distribution can't be read, and
takes the folder `a-b-1.0.dist-info` for the distribution `a`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from difflib import SequenceMatcher
from email import message_from_string
from importlib.metadata import Distribution, DistributionFinder, EntryPoint
from pathlib import Path
from typing import NamedTuple

from packaging.utils import canonicalize_name

from .._atomic import read_whole
from ..errors import PluginError
from ..errors.causes import describe_error, printable, quote
from .hookspecs import PROJECT

LARGEST = 2**24  # bytes of a file that is read
MOST = 100  # entry points of one distribution
LIKE = 0.87  # similarity to `mmencode` from which the name of a group is taken for a misspelling of it
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


class PluginEntry(NamedTuple):
    """One entry point in the group `mmencode`, or in a group whose name looks like a misspelling of that.

    `error` says why it can't be asked; `folder` is the distribution's name according to its folder.
    """

    distribution: str
    version: str = "unknown"
    requires: tuple[str, ...] = ()
    group: str = PROJECT
    name: str = ""
    value: str = ""
    folder: str = ""
    error: PluginError | None = None


def find_entries() -> list[PluginEntry]:
    """Find all entry points, sorted; of two distributions with one name the first on the path counts."""
    found: list[PluginEntry] = []
    seen: set[str] = set()
    for distribution in _distributions():
        if isinstance(distribution, PluginEntry):
            found.append(distribution)
            continue
        folder = _folder(distribution)
        if folder.startswith("~") or folder in seen:  # pip leaves folders of that name when it is killed
            continue
        if folder:
            seen.add(folder)
        found += _entries(distribution, folder)
    checked = [_impostor(entry) if _claims(entry, seen) else entry for entry in found]
    return sorted(checked, key=lambda entry: (canonicalize_name(entry.distribution), entry.name))


def entry_of(entry: EntryPoint) -> PluginEntry:
    """Make the entry of an entry point that importlib.metadata found."""
    if entry.dist is None:
        return PluginEntry(distribution="unknown", name=entry.name, value=entry.value)
    try:
        return PluginEntry(
            distribution=entry.dist.name,
            version=entry.dist.version,
            requires=tuple(entry.dist.requires or ()),
            name=entry.name,
            value=entry.value,
        )
    except Exception as cause:
        error = PluginError(f"its METADATA can't be read: {describe_error(cause)}", remedy="reinstall it")
        return PluginEntry(distribution="unknown", name=entry.name, value=entry.value, error=error)


def _distributions() -> Iterator[Distribution | PluginEntry]:
    """The distributions that all finders find; for a finder that fails, an entry with the error."""
    path = [entry for entry in sys.path if isinstance(entry, str) and "\0" not in entry]
    for finder in list(sys.meta_path):
        find = getattr(finder, "find_distributions", None)
        try:
            yield from find(DistributionFinder.Context(path=path)) if find else ()
        except Exception as cause:
            kind = quote(finder, 80)
            yield PluginEntry(
                distribution="unknown", error=PluginError(f"the finder {kind} fails: {describe_error(cause)}")
            )


def _folder(distribution: Distribution) -> str:
    """The distribution's name according to the name of its folder; "" where it has no such folder."""
    name = getattr(getattr(distribution, "_path", None), "name", "")
    stem, _, kind = name.rpartition(".")
    if kind.lower() not in ("dist-info", "egg-info"):
        return ""
    parts = stem.split("-")
    versions = [place for place, part in enumerate(parts) if place and part[:1].isdigit()]
    return canonicalize_name("-".join(parts[: versions[-1]] if versions else parts))


def _claims(entry: PluginEntry, folders: set[str]) -> bool:
    """Whether an entry's METADATA gives it the name of another folder's distribution, or of mmencode."""
    name = canonicalize_name(entry.distribution)
    return bool(entry.folder) and name != entry.folder and (name in folders or name == PROJECT)


def _impostor(entry: PluginEntry) -> PluginEntry:
    error = PluginError(
        f"its folder is that of {entry.folder}, and its METADATA says that it is {entry.distribution}",
        remedy=f"uninstall it: pip uninstall {entry.folder}",
    )
    return entry._replace(distribution=entry.folder, error=error)


def _entries(distribution: Distribution, folder: str) -> list[PluginEntry]:
    """The entries of one distribution for mmencode; one with an error where its files can't be read."""
    try:
        content = _read(distribution, "entry_points.txt")
        lines = _lines(content) if content else []
    except Exception as cause:
        said = cause.fact if isinstance(cause, PluginError) else f"can't be read: {describe_error(cause)}"
        error = PluginError(f"its entry_points.txt {said}", remedy="reinstall it, or uninstall it")
        return [PluginEntry(distribution=folder or "unknown", folder=folder, error=error)]
    if not lines:
        return []
    if len(lines) > MOST:
        error = PluginError(f"its entry_points.txt has more than {MOST} lines for {PROJECT}")
        return [PluginEntry(distribution=folder or "unknown", folder=folder, error=error)]
    try:
        plain = _read_metadata(distribution, folder)
    except Exception as cause:
        said = cause.fact if isinstance(cause, PluginError) else f"can't be read: {describe_error(cause)}"
        error = PluginError(f"its METADATA {said}", remedy="reinstall it, or uninstall it")
        plain = PluginEntry(distribution=folder or "unknown", folder=folder, error=error)
    own = plain.distribution.replace("-", "_").lower()
    return [
        _entry(plain, group, line)
        for group, line in lines
        if group == PROJECT
        or own == PROJECT
        or group.partition(".")[0] != own  # a group for plugins of its own
    ]


def _entry(plain: PluginEntry, group: str, line: str) -> PluginEntry:
    """The distribution's entry, with the name and value from a line of its entry_points.txt."""
    name, equals, value = (part.strip() for part in line.partition("="))
    entry = plain._replace(group=group, name=name, value=value)
    if plain.error is None and group == PROJECT and not (equals and EntryPoint.pattern.match(value)):
        error = PluginError(
            f"the line {quote(line, 100)} of its entry_points.txt names no module",
            remedy=f'write name = "package.module" under [project.entry-points.{PROJECT}] and reinstall it',
        )
        return entry._replace(error=error)
    return entry


def _lines(content: bytes) -> list[tuple[str, str]]:
    """The lines of the group `mmencode`, or of misspellings of it, each with its group."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        if PROJECT.encode() in content.replace(b"\0", b""):
            raise PluginError("isn't UTF-8") from None
        return []  # mmencode isn't in it
    group, found = "", []
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip() if _is_ours(line) else ""
        elif group and line and not line.startswith(("#", ";")):
            found.append((group, line))
    return found


def _is_ours(group: str) -> bool:
    """Whether the name of a group is `mmencode`, or looks like a misspelling of it."""
    plain = "".join(filter(str.isalpha, group[:100].lower()))
    if plain.startswith(PROJECT):
        return True
    return abs(len(plain) - len(PROJECT)) <= 2 and SequenceMatcher(None, plain, PROJECT).ratio() >= LIKE


def _read_metadata(distribution: Distribution, folder: str) -> PluginEntry:
    """Read a distribution's METADATA; PluginError where that is missing or incomplete, or OSError."""
    content = _read(distribution, "METADATA")
    egg = content is None  # the older form, which has its requirements in a file of their own
    if egg:
        content = _read(distribution, "PKG-INFO")
    if content is None:
        raise PluginError("is missing")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise PluginError("isn't UTF-8") from None
    head = message_from_string(text.replace("\r\n", "\n").partition("\n\n")[0])
    name, version = (str(head.get(field, "")).strip() for field in ("Name", "Version"))
    if not _is_name(name):
        raise PluginError(
            f"gives it the name {quote(name, 80)}, which isn't valid" if name else "has no Name"
        )
    if not version:
        raise PluginError("has no Version")
    requires = (distribution.requires if egg else head.get_all("Requires-Dist")) or ()
    return PluginEntry(
        distribution=name, version=printable(version, 50), requires=tuple(map(str, requires)), folder=folder
    )


def _is_name(name: str) -> bool:
    """Whether a string is a valid name of a distribution, and one plain word for a shell."""
    return 0 < len(name) <= 200 and _LETTERS.issuperset(name) and name[0].isalnum() and name[-1].isalnum()


def _read(distribution: Distribution, name: str) -> bytes | None:
    """Read one of the distribution's files; None where there is no such file.

    Raises as `read_whole` for a pipe or a device, without waiting for it, and for a file of insane size.
    """
    folder = getattr(distribution, "_path", None)
    if not isinstance(folder, Path):  # inside a zip file, or of a foreign finder
        text = distribution.read_text(name)
        return None if text is None else text.encode("utf-8", "surrogateescape")
    try:
        return read_whole(f"{folder}/{name}", LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        return None
