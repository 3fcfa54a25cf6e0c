"""Whether what an encoder needs is installed; torch-free, so that listing encoders stays quick."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import Requirement

from .errors import MissingPackageError
from .spec import EncoderSpec


def missing_packages(spec: EncoderSpec) -> list[str]:
    """What of `spec.requires` is absent or of another version, in words."""
    missing = []
    for requirement in map(Requirement, spec.requires):
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            missing.append(f"{requirement} isn't installed")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            missing.append(f"{requirement} is needed and {installed} is installed")
    return missing


def install_line(spec: EncoderSpec) -> str:
    """The command that installs what the encoder needs: the plugin's own words, or pip with `requires`."""
    packages = " ".join(f"'{requirement}'" for requirement in spec.requires)
    return spec.install or f"pip install {packages}"


def require_packages(spec: EncoderSpec) -> None:
    """Raise MissingPackageError, with the pip line, unless all that the encoder needs is installed."""
    missing = missing_packages(spec)
    if missing:
        raise MissingPackageError(
            f"encoder {spec.name!r} ({spec.modality}) lacks a package: {'; '.join(missing)}",
            remedy=install_line(spec),
        )
