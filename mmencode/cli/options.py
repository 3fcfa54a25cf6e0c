"""Options that several commands share, and the space and limits that they choose."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import LabelError, MmencodeError
from ..plugins.composites import parts_of
from ..plugins.modalities import all_modalities, find_modality

if TYPE_CHECKING:
    from ..inputs import Limits
    from ..spaces.space import Space

SpaceName = Annotated[
    str | None,
    typer.Option(
        "--space",
        help="The name of the space to use, or the path of its folder. If omitted, the default space.",
        metavar="NAME",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="The device that runs the encoders: cpu, cuda, cuda:1, mps, or auto for the fastest one here.",
        metavar="DEVICE",
    ),
]


class Backends(StrEnum):
    """The libraries that compute forward passes."""

    torch = "torch"
    onnxruntime = "onnxruntime"
    openvino = "openvino"


Backend = Annotated[
    Backends,
    typer.Option(
        help="The library that computes on a CPU: torch, or one of the others, faster there, once its extra "
        "is installed. The vectors are the same.",
        metavar="|".join(Backends),
    ),
]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        help="Change a limit on each item, such as pixels=500000000: bytes, pixels, scans, memory, seconds "
        "(of audio), samples, characters or wait (seconds of work), or one that a plugin declares. "
        "Repeatable.",
        metavar="NAME=NUMBER",
    ),
]
Trusted = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Allow downloading the checkpoints that the card of a space's folder or of an index names.",
    ),
]
Instruction = Annotated[
    str,
    typer.Option(
        "--instruction",
        help="Words for the prompt of queries, where the model has a place for them: what to look for.",
        metavar="WORDS",
    ),
]
Modalities = Annotated[
    list[str] | None,
    typer.Option(
        "--modalities",
        help="Load the encoders for these only, separated by commas; the space is the same one. A search by "
        "words needs text alone. Repeatable.",
        metavar="MODALITY,...",
    ),
]
FollowLinks = Annotated[
    bool,
    typer.Option("--follow-links", help="Include files behind symbolic links that lead out of a folder."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
Html = Annotated[
    Path | None,
    typer.Option("--html", help="Write the matches as an HTML page to this file, too.", metavar="FILE"),
]
ListFile = Annotated[
    Path | None,
    typer.Option(
        "--file",
        help="Read more items from this file, one on each line.",
        exists=True,
        dir_okay=False,
        metavar="FILE",
    ),
]
Table = Annotated[
    Path | None,
    typer.Option(
        "--list",
        help="A table of items (.jsonl, .csv or .parquet), a row for each, in place of others: a column for "
        "each part, such as image and text of image+text, null where it is absent; and key, if it has one. "
        "Paths are relative to the table.",
        exists=True,
        dir_okay=False,
        metavar="TABLE",
    ),
]
PartWeights = Annotated[
    list[str] | None,
    typer.Option(
        "--weight",
        help="Make an item's vector the weighted sum of its parts' vectors, in a space that has no encoder "
        "for such items as a whole. Each part has a weight, such as image=1. Repeatable.",
        metavar="PART=NUMBER",
    ),
]
Templates = Annotated[
    list[str] | None,
    typer.Option(
        "--template",
        help='A prompt that wraps each label, such as "a photo of a {label}". Repeatable: the vectors of '
        "several prompts are averaged.",
        metavar="PROMPT",
    ),
]
TemplateSet = Annotated[
    str | None,
    typer.Option(help="Use a predefined set of prompts: openai, simple or sounds.", metavar="NAME"),
]


class DuplicateLabels(StrEnum):
    """The treatment of labels whose prompts have equal vectors."""

    refuse = "refuse"
    keep = "keep"


Duplicates = Annotated[
    DuplicateLabels,
    typer.Option(
        help="Refuse labels that the space can't tell apart, or keep them, as published class lists need.",
        metavar="|".join(DuplicateLabels),
    ),
]


def choose_templates(given: list[str] | None, name: str | None) -> str | list[str] | None:
    """Check the prompts given, or the name of a set of them, before any item is read.

    Gives None where neither is given, which stands for the encoder's own prompt.
    """
    from ..zeroshot.templates import find_templates

    if given and name:
        raise typer.BadParameter("pass --template or --template-set, not both", param_hint="--template-set")
    try:
        return name or (list(find_templates(given)) if given else None)
    except LabelError as cause:
        raise typer.BadParameter(f"{cause.fact}; {cause.remedy}", param_hint="--template") from cause


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadChoice:
    """The choices of a user as to how the encoders of a space, or of an index, are loaded."""

    device: str = "auto"
    backend: Backends = Backends.torch
    limit: list[str] | None = None
    trust: bool = False
    instruction: str = ""
    modalities: list[str] | None = None

    def options(self) -> dict[str, Any]:
        """Make the options of `load` and `Index.open`."""
        named = [word for text in self.modalities or () for word in map(str.strip, text.split(",")) if word]
        if self.modalities and not named:
            raise typer.BadParameter("name at least one", param_hint="--modalities")
        return {
            "device": self.device,
            "backend": str(self.backend),
            "limits": parse_limits(self.limit),
            "trust": "names" if self.trust else None,
            "instruction": self.instruction,
            "modalities": tuple(named) or None,
        }


def open_space(name: str | None, choice: LoadChoice) -> Space:
    """Load the named space, or the default one, which imports torch."""
    from .. import load, registry

    return load(registry().default_space() if name is None else name, **choice.options())


def fuse_as_asked(space: Space, modality: str, weights: Sequence[str] | None) -> Space:
    """Make a space with a composite as the sum that `--weight PART=NUMBER` describes; itself without any."""
    if not weights:
        return space
    from ..inputs.listed import columns_of

    parts = columns_of(modality)
    found: dict[str, float] = {}
    for text in weights:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = 0.0
        if name not in parts or name in found or not 0 < value < math.inf or not parts_of(modality):
            raise typer.BadParameter(
                f"{text!r} is no weight: write PART=NUMBER, above 0, once for each part of a modality such "
                "as image+text",
                param_hint="--weight",
            )
        found[name] = value
    if lacking := [name for name in parts if name not in found]:
        raise typer.BadParameter(f"{', '.join(lacking)} has none: give each part one", param_hint="--weight")
    return space.fuse(modality, [found[name] for name in parts])


def parse_limits(given: list[str] | None) -> Limits:
    """Parse the values of `--limit NAME=NUMBER` into limits on items; the rest keep their defaults."""
    from ..inputs import Limits

    chosen: dict[str, Any] = {}
    declared: dict[str, Any] = {}
    for text in given or ():
        name, _, number = text.partition("=")
        try:
            value = int(number) if number.lstrip("-").isdigit() else float(number)
        except ValueError:
            raise typer.BadParameter(
                f"{text!r} isn't NAME=NUMBER, such as pixels=500000000", param_hint="--limit"
            ) from None
        (declared if "." in name else chosen)[name] = value
    try:
        _require_declared(declared)
        return Limits(**chosen, declared=declared)
    except TypeError:
        known = {field.name for field in fields(Limits)} - {"declared"}
        unknown = ", ".join(repr(name) for name in chosen if name not in known)
        raise typer.BadParameter(
            f"there is no limit {unknown}: choose among {', '.join(sorted(known))}", param_hint="--limit"
        ) from None
    except ValueError as cause:
        raise typer.BadParameter(str(cause), param_hint="--limit") from cause


def _require_declared(given: Mapping[str, Any]) -> None:
    """Raise ValueError for a limit, molecule.atoms, that no installed plugin's modality declares."""
    for name in given:
        spec = find_modality(name.partition(".")[0])
        if spec is None or name not in spec.defaults:
            known = [limit for found in all_modalities() for limit in found.defaults]
            has = ", ".join(known) or "none"
            raise ValueError(f"there is no limit {name!r}: the modalities installed here declare {has}")


def require_no_link(folder: Path) -> None:
    """Refuse to write into a folder that is a symbolic link, since whoever made it chose where it leads."""
    if folder.is_symlink():
        raise MmencodeError(
            f"{folder} is a link, and nothing is written through links",
            remedy=f"name the folder to which it leads: -o {shlex.quote(os.path.realpath(folder))}",
        )


def require_folder_of(path: Path | None, option: str) -> None:
    """Refuse a file that can't be written because of its folder, before any work is done."""
    if path is None:
        return
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a folder: name a file", param_hint=option)
    if not path.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.parent}", param_hint=option)
