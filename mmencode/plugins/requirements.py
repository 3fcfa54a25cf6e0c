"""Requirements in pip's notation, such as `onnx>=1.16; sys_platform == 'linux'`."""

from __future__ import annotations

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version


def read_requirement(line: str) -> Requirement | None:
    """Read a line of requirements; None where its marker excludes this machine, or is that of an extra.

    Raises ValueError for a line that pip can't read.
    """
    requirement = Requirement(line)
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    return requirement


def admits(specifier: SpecifierSet, version: str) -> bool:
    """Whether a specifier admits a version, or the release that the version is a pre-release of.

    A development version or a release candidate of 0.2 is admitted where 0.2 is, since whoever runs it wants
    to try plugins with it. Where the specifier itself names a pre-release, the version is compared as it is.
    """
    if specifier.contains(version, prereleases=True):
        return True
    named = any(Version(one.version.removesuffix(".*")).is_prerelease for one in specifier)
    return not named and specifier.contains(Version(version).base_version)
