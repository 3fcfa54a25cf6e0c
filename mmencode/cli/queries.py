"""What to search for, from what stands on the command line: words, examples, and how much each counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..plugins.spec import AUDIO, IMAGE, TEXT

if TYPE_CHECKING:
    from ..embeddings.embeddings import Embeddings
    from ..spaces.space import Space

WITHOUT = "without"

Words = Annotated[str | None, typer.Argument(help="What to search for, in words.")]
Images = Annotated[list[str] | None, typer.Option("--image", help="Search by this image; may be repeated.")]
Recordings = Annotated[
    list[str] | None, typer.Option("--audio", help="Search by this recording; may be repeated.")
]
Without = Annotated[
    list[str] | None, typer.Option("--without", help="Words to turn away from; may be repeated.")
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        "--weight",
        help="How much what was given counts, beside the rest: text=1, image=0.3, audio=-0.5, without=0.5. "
        "1 if not given.",
        metavar="NAME=NUMBER",
    ),
]


@dataclass(frozen=True, slots=True)
class Part:
    """One of the things that are searched for; a negative weight turns away from it."""

    modality: str
    item: str
    weight: float

    def to_dict(self) -> dict[str, Any]:
        """The part for a JSON document."""
        return {"modality": self.modality, "item": self.item, "weight": self.weight}


@dataclass(frozen=True, slots=True)
class Query:
    """Everything that is searched for at once."""

    parts: tuple[Part, ...]

    @property
    def modality(self) -> str:
        """That of all parts, or "mixed"."""
        modalities = {part.modality for part in self.parts}
        return modalities.pop() if len(modalities) == 1 else "mixed"

    def __str__(self) -> str:
        if len(self.parts) == 1 and self.parts[0].weight > 0:
            return self.parts[0].item
        words = "".join(
            f" {'-' if part.weight < 0 else '+'} {_times(abs(part.weight))}{part.item}" for part in self.parts
        )
        return words.removeprefix(" + ").strip()

    def encoded(self, space: Space) -> Embeddings:
        """The one vector of all parts; wrong usage where they cancel each other out."""
        if self.modality == "mixed":
            vectors = space.encode_mixed([(part.modality, part.item) for part in self.parts])
        else:
            vectors = space.encode(self.modality, [part.item for part in self.parts])
        if len(self.parts) == 1 and self.parts[0].weight > 0:
            return vectors
        from ..embeddings.combining import combine

        try:
            return combine(vectors, [part.weight for part in self.parts])
        except ValueError as cause:
            raise typer.BadParameter(str(cause), param_hint="--weight") from cause


def query(
    words: str | None,
    images: Sequence[str],
    recordings: Sequence[str],
    without: Sequence[str],
    weights: Sequence[str],
) -> Query:
    """The query given; wrong usage where nothing is, or nothing says how words and examples are weighed."""
    given = {
        TEXT: [] if words is None else [words],
        IMAGE: list(images),
        AUDIO: list(recordings),
        WITHOUT: list(without),
    }
    weighed = _weights(weights, given)
    if not any(given.values()):
        raise typer.BadParameter("search for something: a text, --image or --audio")
    if sum(bool(given[modality]) for modality in (TEXT, IMAGE, AUDIO)) > 1 and not weighed:
        raise typer.BadParameter(
            "words and examples together need to be weighed: say --weight image=0.3, for one",
            param_hint="--weight",
        )
    parts = []
    for name, items in given.items():
        weight = weighed.get(name, 1.0) * (-1 if name == WITHOUT else 1)
        parts += [Part(TEXT if name == WITHOUT else name, item, weight) for item in items]
    return Query(tuple(parts))


def _weights(texts: Sequence[str], given: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Numbers by name; wrong usage for what is no number, for zero, twice the same and what wasn't given."""
    weights: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not math.isfinite(weight) or weight == 0 or name in weights or not given.get(name):
            known = ", ".join(known for known, items in given.items() if items)
            raise typer.BadParameter(
                f"{text!r}: write it as NAME=NUMBER, once for each of {known or 'the queries'}, and not 0",
                param_hint="--weight",
            )
        weights[name] = weight
    return weights


def _times(weight: float) -> str:
    return "" if weight == 1 else f"{weight:g} x "
