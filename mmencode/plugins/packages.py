"""Packages that encoders need, or that mmencode itself uses where they are installed."""

from __future__ import annotations

from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from packaging.version import InvalidVersion, Version

from ..errors import MissingPackageError
from ..errors.causes import describe_error, message_of
from .requirements import read_requirement
from .spec import EncoderSpec


def missing_packages(spec: EncoderSpec) -> list[str]:
    """The requirements of an encoder that are absent or of another version, each with words that say so."""
    return [words for words in map(_missing, spec.requires) if words]


def _missing(line: str) -> str:
    """Say why a requirement isn't met; "" when it is, or when it doesn't apply to this machine."""
    requirement = read_requirement(line)
    if requirement is None:
        return ""
    wanted = str(requirement).partition(";")[0].strip()
    try:
        installed = Version(version(requirement.name))
    except PackageNotFoundError:
        return f"{wanted} isn't installed"
    except (InvalidVersion, TypeError, OSError, UnicodeError, KeyError) as cause:
        return f"{wanted} is needed, and the version that is installed can't be read: {describe_error(cause)}"
    if requirement.specifier.contains(installed, prereleases=True):
        return ""
    return f"{wanted} is needed and {installed} is installed"


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


def find_package(name: str, need: str, install: str) -> ModuleSpec:
    """Find an optional package without importing it; MissingPackageError as `import_package` raises it."""
    spec = find_spec(name)
    if spec is None:
        raise MissingPackageError(f"{need}, which isn't installed", remedy=install)
    return spec


def import_package(module: str, need: str, install: str) -> Any:
    """Import a module of an optional package; MissingPackageError, with how to install it, where that fails.

    `need` says who needs which package, as in "clusters need scikit-learn", and `install` is a command.
    One that was built for another release of what it links to fails with an OSError or a RuntimeError.
    """
    try:
        return import_module(module)
    except (ImportError, OSError, RuntimeError) as cause:
        root = (getattr(cause, "name", None) or "").partition(".")[0]
        absent = isinstance(cause, ModuleNotFoundError) and root == module.partition(".")[0]
        why = "isn't installed" if absent else f"can't be imported: {message_of(cause)}"
        raise MissingPackageError(f"{need}, which {why}", remedy=install) from cause
