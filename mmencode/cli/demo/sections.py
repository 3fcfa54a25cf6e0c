"""Ask a space for the labels of each item of a collection, and for the items nearest to each sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from ...plugins.spec import TEXT

if TYPE_CHECKING:
    from ...embeddings.embeddings import Embeddings
    from ...spaces.space import Space

BEST = 3
Ranked = list[tuple[str, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Collection:
    """Items of one modality by name, their origin in words, and the labels and sentences to try on them."""

    modality: str
    noun: str
    origin: str
    items: Mapping[str, Path | bytes]
    labels: Sequence[str]
    sentences: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One table of results: rows of a name and its best answers with scores.

    `asked` is the heading of the names: "photograph", or "sentence".
    """

    title: str
    about: str
    asked: str
    rows: Sequence[tuple[str, Ranked]]

    def to_dict(self) -> dict[str, Any]:
        """The section as a JSON document holds it."""
        rows = [
            {"asked": name, "best": [{"answer": answer, "score": score} for answer, score in best]}
            for name, best in self.rows
        ]
        return {"title": self.title, "about": self.about, "rows": rows}


def ask(space: Space, collection: Collection) -> tuple[list[Section], list[InputError]]:
    """Encode a collection, label its items and search them by its sentences.

    Gives one section for each of the two tasks, or none if no item can be encoded, and the failures.
    """
    batch = list(collection.items.values())
    vectors = space.encode(collection.modality, batch, on_error="skip", progress=True)
    errors = list(vectors.errors)
    if not len(vectors):
        return [], errors
    names = [list(collection.items)[position] for position in vectors.positions]
    return [_label(space, collection, names, vectors), _search(space, collection, names, vectors)], errors


def _label(space: Space, collection: Collection, names: Sequence[str], vectors: Embeddings) -> Section:
    result = space.classifier(collection.labels).rank(vectors)
    return Section(
        title=f"Which of {len(collection.labels)} labels fits each {collection.noun}?",
        about=f"{collection.origin} The labels are words; nothing was trained on them: "
        f"{', '.join(collection.labels)}.",
        asked=collection.noun,
        rows=list(zip(names, result.top(BEST), strict=True)),
    )


def _search(space: Space, collection: Collection, names: Sequence[str], vectors: Embeddings) -> Section:
    matches = space.search(space.encode(TEXT, collection.sentences), vectors, BEST)
    rows = [
        (sentence, [(names[row], float(score)) for row, score in zip(best, scores, strict=True)])
        for sentence, best, scores in zip(collection.sentences, matches.rows, matches.scores, strict=True)
    ]
    return Section(
        title=f"Which {collection.noun} fits each sentence?",
        about=f"The same vectors, searched by text; file names aren't used. Each sentence gets its {BEST} "
        "nearest items, however far they are.",
        asked="sentence",
        rows=rows,
    )
