"""`mmencode new-plugin`: a small plugin that works, as a project to start from."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Mapping
from enum import Enum
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from .._atomic import content_aside, folder_aside
from .._version import __version__
from ..errors import MmencodeError
from ..plugins.spec import AUDIO, IMAGE, TEXT
from . import output
from .options import require_no_link

PREFIX = "mmencode-"


class Kind(str, Enum):
    """The modalities that there is a template for."""

    text = TEXT
    image = IMAGE
    audio = AUDIO


# Where each template goes; the encoder's is the one called after its modality.
FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "gitignore": ".gitignore",
    "__init__.py": "${package}/__init__.py",
    "${modality}.py": "${package}/encoder.py",
    "py.typed": "${package}/py.typed",
    "test_conformance.py": "tests/test_conformance.py",
}
ENCODERS = {
    Kind.text: {"encoder": "HashedTrigrams", "dim": "512", "description": "how a text is spelt"},
    Kind.image: {"encoder": "ColourGrid", "dim": "48", "description": "the mean colours of a 4 x 4 grid"},
    Kind.audio: {"encoder": "EnergyBands", "dim": "24", "description": "the mean energy in 24 bands"},
}


def new_plugin(
    name: Annotated[str, typer.Argument(help="The encoder's name: small letters, digits and dashes.")],
    modality: Annotated[Kind, typer.Option(help="What it encodes.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder to write; mmencode-NAME if not given.", metavar="DIR"),
    ] = None,
) -> None:
    """Write a plugin project to start from.

    It has one small encoder that works, its declaration and its tests, which pass as they are.

    \b
    Example: mmencode new-plugin colours --modality image
    """
    name = _checked(name)
    folder = Path(PREFIX + name) if out is None else out
    _require_free(folder)
    package = (PREFIX + name).replace("-", "_")
    words = {"name": name, "package": package, "modality": modality.value, **ENCODERS[modality]}
    words["versions"] = _versions(__version__)
    written = _write(folder, words)
    output.table(output.Table("Written", ("file",), [(str(path),) for path in written]))
    quoted = shlex.quote(str(folder))
    output.note("next:")
    for line in (
        f"pip install -e {shlex.quote(f'{folder}[dev]')}",
        f"pytest {quoted}",
        f"mmencode check {name}",
    ):
        output.note(f"  {line}")


def _versions(version: str) -> str:
    """What a plugin written for this mmencode asks for, up to the next version that may break it."""
    from packaging.version import Version

    major, minor = (*Version(version).release, 0)[:2]
    following = f"0.{minor + 1}" if major == 0 else f"{major + 1}"
    return f">={major}.{minor},<{following}"


def _checked(name: str) -> str:
    """The name without the prefix that its distribution gets anyway."""
    name = name.removeprefix(PREFIX)
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise typer.BadParameter(
            f"{name!r} is no name of small letters, digits and single dashes, such as {_similar(name)!r}",
            param_hint="NAME",
        )
    return name


def _similar(name: str) -> str:
    """The nearest valid name."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).lstrip("-0123456789").rstrip("-")
    return words.removeprefix(PREFIX) or "my-encoder"


def _require_free(folder: Path) -> None:
    """Raise unless the folder can be made, or is there and empty."""
    require_no_link(folder)
    if not folder.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {folder.absolute().parent}", param_hint="--out")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "is there already, and not empty" if folder.is_dir() else "is a file"
        raise MmencodeError(f"{folder} {what}", remedy="choose another name, or another folder with -o")


def _write(folder: Path, words: Mapping[str, str]) -> list[Path]:
    """Fill the folder, which appears with all its files or not at all, and give their paths."""
    content = {
        _filled(target, words): _filled(_template(_filled(template, words)), words)
        for template, target in FILES.items()
    }
    aside = content_aside if folder.exists() else folder_aside
    with aside(folder.absolute()) as project:
        _fill(project, content)
    return [folder / name for name in content]


def _fill(project: Path, content: Mapping[str, str]) -> None:
    for name, text in content.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _template(name: str) -> str:
    return (files(__package__) / "templates" / f"{name}.template").read_text(encoding="utf-8")


def _filled(text: str, words: Mapping[str, str]) -> str:
    return Template(text).substitute(words)
