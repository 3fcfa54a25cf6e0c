"""Search an index by words beside vectors, for `mmencode search --hybrid`, and make its full text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import output
from .failures import blame_usage
from .late import gives_many
from .options import Json, LoadChoice, open_space

if TYPE_CHECKING:
    from ..index import Index, RankedHit
    from ..index.reranking import Reranker
    from .queries import WeightedQuery

ABOUT = "The order is by the sum of 1 / (60 + rank) over both rankings"

Hybrid = Annotated[
    bool,
    typer.Option(
        "--hybrid",
        help="Look for the words of QUERY in the full text of an index, too, and fuse both rankings by their "
        "ranks. `mmencode index full-text` makes the full text.",
    ),
]
SoughtWords = Annotated[
    str | None,
    typer.Option(
        "--words",
        help="Look for these words in the full text, in place of those of QUERY: next to --image, say. It "
        "stands for --hybrid, too.",
        metavar="WORDS",
    ),
]
Rerank = Annotated[
    str | None,
    typer.Option(
        "--rerank",
        help="Rank the first 20 of a --hybrid search again, by MaxSim, in a space that gives many vectors "
        "for each item: its name or folder.",
        metavar="SPACE",
    ),
]
RERANKED = 20  # rows of each ranking, and of the fused one that is ranked again


@dataclass(frozen=True, slots=True)
class Sought:
    """The words that are looked for in full text, and the space that ranks again what is found."""

    words: str
    rerank: str | None = None

    @classmethod
    def choose(
        cls, query: str | None, words: str | None, rerank: str | None, *, hybrid: bool
    ) -> Sought | None:
        """Read the options; None for a search by vectors alone, wrong usage where no words are given."""
        if not hybrid and words is None:
            if rerank is not None:
                raise typer.BadParameter("it is for --hybrid: pass that, too", param_hint="--rerank")
            return None
        sought = query if words is None else words
        if sought is None:
            raise typer.BadParameter("pass words to look for: a QUERY, or --words", param_hint="--hybrid")
        return cls(sought, rerank)


def find_ranked(
    index: Index,
    query: WeightedQuery,
    k: int,
    sought: Sought,
    choice: LoadChoice,
    *,
    modality: str | None,
    where: str | None,
    centred: bool,
) -> list[RankedHit]:
    """Search an index by the vectors of a query and by words."""
    with blame_usage("--hybrid"):
        index.search_text([sought.words], 1)  # whether there is full text, before an encoder is loaded
    reranker: Reranker | None = None
    if sought.rerank is not None:
        from ..index import MaxSimReranker

        with blame_usage("--rerank"):
            reranker = MaxSimReranker(open_space(sought.rerank, choice))
    vectors = query.encode(index.space)
    if centred and gives_many(index.space):
        raise typer.BadParameter(
            "the rows of this index have many vectors each, which have no mean: leave it out",
            param_hint="--centred",
        )
    from ..index.hybrid import DEPTH

    with blame_usage("--where"):
        return index.search_hybrid(
            [sought.words],
            k,
            vectors=vectors,
            where=where,
            among=modality,
            centred=centred,
            depth=DEPTH if reranker is None else RERANKED,
            rerank=reranker,
        )[0]


def full_text(
    index: Annotated[Path, typer.Argument(help="The folder that holds the index.", metavar="INDEX")],
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            help="The name of metadata whose texts to search, or key for texts that are their own keys. If "
            "omitted, text, as which an index keeps texts. Repeatable.",
            metavar="NAME",
        ),
    ] = None,
    language: Annotated[
        str,
        typer.Option(
            help="Find words of this language, German or English say, in their other forms, too, and leave "
            "out its stop words, such as the. If omitted, words are found as they are written, but for case "
            "and accents.",
            metavar="LANGUAGE",
        ),
    ] = "",
    characters: Annotated[
        int,
        typer.Option(
            min=0,
            max=8,
            help="Find parts of words, by cutting texts into pieces of so many characters, such as 2. If "
            "omitted, whole words are found.",
            metavar="NUMBER",
        ),
    ] = 0,
    json: Json = False,
) -> None:
    """Make the texts of an index searchable by their words.

    Texts that are added later are searchable at once. Called again for a column, it changes how words of that
    are found. `mmencode search --hybrid` searches by words beside vectors.

    \b
    Example: mmencode index full-text notes.index
    Example: mmencode index full-text photos.index --column caption --language German
    """
    from ..index import Index

    with Index.open(index, device="cpu") as opened:
        with blame_usage():
            opened.build_full_text(column or "text", language=language, characters=characters)
        held = dict(opened.state().full_text)
    if json:
        output.document({"full_text": held})
    else:
        output.table(output.Table(str(index), ("column", "found by"), list(held.items())))
