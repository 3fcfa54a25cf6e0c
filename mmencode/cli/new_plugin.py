"""Implement `mmencode new-plugin`, which writes the project of a small plugin that works."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from .._atomic import content_aside, folder_aside
from .._version import __version__
from ..errors import MmencodeError
from . import output
from .options import require_no_link
from .sketches import SKETCHES, Kind, Sketch, SketchModality

PREFIX = "mmencode-"


# The path of each template's file in the project; what an encoder and its kind need has names of its own.
FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "gitignore": ".gitignore",
    "${declaration}.py": "${package}/__init__.py",
    "${source}.py": "${package}/encoder.py",
    "py.typed": "${package}/py.typed",
    "${conformance}.py": "tests/test_conformance.py",
}


def new_plugin(
    name: Annotated[
        str, typer.Argument(help="The encoder's name, in small letters, digits and dashes.", metavar="NAME")
    ],
    modality: Annotated[
        SketchModality | None,
        typer.Option(
            help="The modality of the items that the encoder takes. Leave it out with --kind omni, whose "
            "encoders take texts, images and both at once.",
            metavar="|".join(SketchModality),
        ),
    ] = None,
    kind: Annotated[
        Kind,
        typer.Option(
            help="The kind of encoder: one that gives a single vector for each item, one that gives many for "
            "late interaction (late), or encoders of several modalities in one space (omni).",
            metavar="|".join(Kind),
        ),
    ] = Kind.single,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The folder of the project. If omitted, mmencode-NAME.", metavar="DIR"
        ),
    ] = None,
) -> None:
    """Write the project of a plugin, to start from.

    The project holds a small encoder that works, its declaration, and its conformance tests, which pass.

    \b
    Example: mmencode new-plugin colours --modality image
    Example: mmencode new-plugin words --modality text --kind late
    Example: mmencode new-plugin everything --kind omni
    """
    name = _require_name(name)
    sketch = _choose(kind, modality)
    folder = Path(PREFIX + name) if out is None else out
    _require_free(folder)
    package = (PREFIX + name).replace("-", "_")
    versions = compatible_versions(__version__)
    words = {"name": name, "package": package, "versions": versions, **sketch.words()}
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


def compatible_versions(version: str) -> str:
    """The versions of mmencode that a new plugin requires: from this one up to the next breaking one."""
    from packaging.version import Version

    major, minor = (*Version(version).release, 0)[:2]
    following = f"0.{minor + 1}" if major == 0 else f"{major + 1}"
    return f">={major}.{minor},<{following}"


def _choose(kind: Kind, modality: SketchModality | None) -> Sketch:
    """The template of this kind and modality; BadParameter says which there are."""
    sketches = SKETCHES[kind]
    if (modality or "") in sketches:
        return sketches[modality or ""]
    if kind is Kind.omni:
        said = f"leave out --modality {modality}: encoders of --kind omni take texts, images and both at once"
    else:
        found = "is missing" if modality is None else f"{modality.value!r} has no template of --kind {kind}"
        said = f"{found}: give one of {', '.join(sketches)}"
    raise typer.BadParameter(said, param_hint="--modality")


def _require_name(name: str) -> str:
    """Check the encoder's name, and drop the prefix that the distribution's name gets in any case."""
    name = name.removeprefix(PREFIX)
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise typer.BadParameter(
            f"{name!r} isn't made of small letters, digits and single dashes, as {_similar(name)!r} is",
            param_hint="NAME",
        )
    return name


def _similar(name: str) -> str:
    """A valid name that resembles one that isn't."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).lstrip("-0123456789").rstrip("-")
    return words.removeprefix(PREFIX) or "my-encoder"


def _require_free(folder: Path) -> None:
    """Refuse a folder that can't be created, or that exists and isn't empty."""
    require_no_link(folder)
    if not folder.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {folder.absolute().parent}", param_hint="--out")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "exists and isn't empty" if folder.is_dir() else "is a file"
        raise MmencodeError(f"{folder} {what}", remedy="choose another name, or another folder with -o")


def _write(folder: Path, words: Mapping[str, str]) -> list[Path]:
    """Write all files of the project, or none, and give their paths."""
    content = {
        _fill_in(target, words): _fill_in(_template(_fill_in(template, words)), words)
        for template, target in FILES.items()
    }
    aside = content_aside if folder.exists() else folder_aside
    with aside(folder.absolute()) as project:
        _write_files(project, content)
    return [folder / name for name in content]


def _write_files(project: Path, content: Mapping[str, str]) -> None:
    for name, text in content.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _template(name: str) -> str:
    return (files(__package__) / "templates" / f"{name}.template").read_text(encoding="utf-8")


def _fill_in(text: str, words: Mapping[str, str]) -> str:
    return Template(text).substitute(words)
