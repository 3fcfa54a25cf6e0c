"""What a line in pip's notation asks for on this machine."""

from __future__ import annotations

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version


def read_requirement(line: str) -> Requirement | None:
    """The requirement of a line; None where its marker says that it isn't one here, or is an extra's.

    Raises ValueError for a line that pip can't read.
    """
    requirement = Requirement(line)
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    return requirement


def admits(specifier: SpecifierSet, version: str) -> bool:
    """Whether a version is one that was asked for, or on the way to one.

    A development version or a release candidate of 0.2 is taken where 0.2 is, since whoever runs one wants
    to try plugins with it; but where a pre-release is named, the version counts as it is.
    """
    if specifier.contains(version, prereleases=True):
        return True
    named = any(Version(one.version.removesuffix(".*")).is_prerelease for one in specifier)
    return not named and specifier.contains(Version(version).base_version)
