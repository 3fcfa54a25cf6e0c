"""Build a query from the command line: texts and example files, each with a weight."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..plugins.composites import INTERLEAVED, join_parts, parts_of
from ..plugins.modalities import all_modalities, find_modality
from ..plugins.spec import AUDIO, IMAGE, QUERY, TEXT
from .failures import blame_usage
from .late import encode_query, gives_many

if TYPE_CHECKING:
    from ..embeddings.embeddings import Embeddings
    from ..embeddings.multi import MultiEmbeddings
    from ..spaces.space import Space

WITHOUT = "without"

Words = Annotated[str | None, typer.Argument(help="A text that describes what to find.", metavar="QUERY")]
Images = Annotated[
    list[str] | None,
    typer.Option("--image", help="An image file to search by example. Repeatable.", metavar="FILE"),
]
Recordings = Annotated[
    list[str] | None,
    typer.Option("--audio", help="An audio file to search by example. Repeatable.", metavar="FILE"),
]
Examples = Annotated[
    list[str] | None,
    typer.Option(
        "--example",
        help="A file to search by of any modality that mmencode or a plugin declares, such as "
        "molecule=ethanol.smi; image=FILE is --image FILE. Repeatable.",
        metavar="MODALITY=FILE",
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        "--without", help="A text to steer away from: its vector is subtracted. Repeatable.", metavar="TEXT"
    ),
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        "--weight",
        help="The weight of the text, of the examples of a modality, or of the --without texts in the query "
        "vector, such as image=0.3 or molecule=2. Each is 1 by default; a negative weight subtracts. "
        "Repeatable. Without any, a text and examples are the parts of one item, where the space takes "
        "such items.",
        metavar="NAME=NUMBER",
    ),
]


@dataclass(frozen=True, slots=True)
class Term:
    """A text or an example file of a query; its vector is subtracted where the weight is negative."""

    modality: str
    item: str
    weight: float

    def to_dict(self) -> dict[str, Any]:
        """The term as a JSON document holds it."""
        return {"modality": self.modality, "item": self.item, "weight": self.weight}


@dataclass(frozen=True, slots=True)
class WeightedQuery:
    """The terms of one search, which become a single vector: their weighted sum.

    Those that aren't subtracted are parts of one item where the query is `fused`.
    """

    terms: tuple[Term, ...]
    fused: bool = False

    @property
    def modality(self) -> str:
        """The modality of all terms, or "mixed" where they have several."""
        modalities = {term.modality for term in self.terms}
        return modalities.pop() if len(modalities) == 1 else "mixed"

    def __str__(self) -> str:
        if self._is_plain():
            return self.terms[0].item
        words = "".join(
            f" {'-' if term.weight < 0 else '+'} {_factor(abs(term.weight))}{term.item}"
            for term in self.terms
        )
        return words.removeprefix(" + ").strip()

    def _is_plain(self) -> bool:
        """Whether the query is a single term whose weight can't change the ranking."""
        return len(self.terms) == 1 and self.terms[0].weight > 0

    def encode(self, space: Space) -> Embeddings | MultiEmbeddings:
        """Encode the terms into one vector; wrong usage where they cancel each other out.

        Into many vectors where the space gives these, of one term.

        Likewise where the query is fused, and the space takes no items of these parts.
        """
        pairs: list[tuple[str, Any]] = [(term.modality, term.item) for term in self.terms]
        weights = [term.weight for term in self.terms]
        if self.fused:
            parts = [pair for pair, weight in zip(pairs, weights, strict=True) if weight > 0]
            without = [(pair, weight) for pair, weight in zip(pairs, weights, strict=True) if weight < 0]
            pairs = [_fuse(space, parts), *(pair for pair, _ in without)]
            weights = [1.0, *(weight for _, weight in without)]
        if gives_many(space):
            return encode_query(space, pairs, weights)
        modalities = {modality for modality, _ in pairs}
        if len(modalities) > 1:
            vectors = space.encode_mixed(pairs, role=QUERY)
        else:
            vectors = space.encode(modalities.pop(), [item for _, item in pairs], role=QUERY)
        if len(pairs) == 1 and weights[0] > 0:
            return vectors
        from ..embeddings.combining import combine

        with blame_usage("--weight"):
            return combine(vectors, weights)


def parse_query(
    words: str | None,
    images: Sequence[str],
    recordings: Sequence[str],
    without: Sequence[str],
    weights: Sequence[str],
    examples: Sequence[str] = (),
) -> WeightedQuery:
    """Build the query that the command line describes.

    Text and examples that are combined without any --weight are the parts of one item. Wrong usage where no
    term is given.
    """
    given = {
        TEXT: [] if words is None else [words],
        IMAGE: list(images),
        AUDIO: list(recordings),
    }
    for modality, item in map(_parse_example, examples):
        given.setdefault(modality, []).append(item)
    positive = len([modality for modality, items in given.items() if items])
    given[WITHOUT] = list(without)
    weight_of = _parse_weights(weights, given)
    if not any(given.values()):
        raise typer.BadParameter("pass something to search for: a text, --image, --audio or --example")
    terms = []
    for name, items in given.items():
        weight = weight_of.get(name, 1.0) * (-1 if name == WITHOUT else 1)
        terms += [Term(TEXT if name == WITHOUT else name, item, weight) for item in items]
    return WeightedQuery(tuple(terms), fused=positive > 1 and not weight_of)


def _fuse(space: Space, parts: Sequence[tuple[str, Any]]) -> tuple[str, Any]:
    """Make one item of its parts, as the space takes them: a composite, or interleaved, the examples first.

    Returns its modality and itself; wrong usage where the space takes none of these parts together.
    """
    names = [modality for modality, _ in parts]
    for modality in space.modalities:
        if sorted(parts_of(modality)) == sorted(names):
            left = list(parts)
            return modality, tuple(_take(left, name) for name in parts_of(modality))
    if INTERLEAVED in space.modalities and {*names} <= {*space.spec(INTERLEAVED).parts}:
        return INTERLEAVED, sorted(parts, key=lambda part: part[0] == TEXT)
    raise typer.BadParameter(
        f"the space takes no {join_parts(tuple(names))} as one item, so that a query of several modalities "
        f"needs weights: pass --weight {names[-1]}=0.3, for example",
        param_hint="--weight",
    )


def _take(parts: list[tuple[str, Any]], name: str) -> Any:
    """Take the first part of a modality out of those that are left."""
    place = next(place for place, (modality, _) in enumerate(parts) if modality == name)
    return parts.pop(place)[1]


def _parse_example(text: str) -> tuple[str, str]:
    """Parse MODALITY=FILE, of a modality that an installed plugin or mmencode declares."""
    modality, _, item = text.partition("=")
    spec = find_modality(modality)
    if spec is None or not item:
        known = ", ".join(spec.name for spec in all_modalities())
        raise typer.BadParameter(
            f"{text!r} is no example: write MODALITY=FILE, with a modality of {known}", param_hint="--example"
        )
    return modality, item


def _parse_weights(texts: Sequence[str], given: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Parse `NAME=NUMBER` weights; each name is one of `given` that has items, and comes once."""
    weights: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not math.isfinite(weight) or weight == 0 or name in weights or not given.get(name):
            known = [known for known, items in given.items() if items]
            known = known or [*(spec.name for spec in all_modalities()), WITHOUT]
            raise typer.BadParameter(
                f"{text!r} is no weight: write NAME=NUMBER, not 0, at most once for each of "
                f"{', '.join(known)}",
                param_hint="--weight",
            )
        weights[name] = weight
    return weights


def _factor(weight: float) -> str:
    return "" if weight == 1 else f"{weight:g} x "
