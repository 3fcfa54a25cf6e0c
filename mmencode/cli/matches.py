"""Find matches for `mmencode search` in a folder, which is encoded first, or in an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..arguments.plain import plain
from ..errors import InputError, MmencodeError
from ..plugins.composites import is_composite
from ..plugins.spec import IMAGE
from .failures import blame_usage, require_some
from .hybrid import ABOUT, Sought, find_ranked
from .items import gather
from .late import encode_items, gives_many, require_pool
from .options import LoadChoice, open_space
from .queries import WeightedQuery

if TYPE_CHECKING:
    from ..index import Index, RankedHit


@dataclass(frozen=True, slots=True)
class Match:
    """A search hit with the item's key, its modality, its score, and the metadata that an index holds.

    A search by words has `ranked`, too; then `score` is None for rows that aren't among the nearest.
    """

    key: str
    modality: str
    score: float | None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    ranked: RankedHit | None = None

    def to_dict(self) -> dict[str, Any]:
        """The match for a JSON document."""
        metadata = {name: plain(value) for name, value in self.metadata.items()}
        document = {"item": self.key, "modality": self.modality, "score": self.score, "metadata": metadata}
        if self.ranked is None:
            return document
        return document | {
            "fused": self.ranked.fused,
            "vector_rank": self.ranked.vector_rank,
            "text_rank": self.ranked.text_rank,
            "bm25": self.ranked.bm25,
            "reranked": self.ranked.reranked,
        }


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The matches of one search, best first, with the space and the items that couldn't be searched.

    `searched` is the number of rows that were compared, or None where a condition selected them. `left_out`
    counts the files of a folder that weren't read, by reason; `many` says that MaxSim compared many vectors.
    """

    space: str
    searched: int | None
    matches: Sequence[Match]
    failed: Sequence[InputError] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    many: bool = False

    @property
    def meaning(self) -> str:
        """The meaning of the scores, in words."""
        meaning = "cosine similarities"
        if self.many:
            meaning = "sums of the best cosine similarity for each vector of the query"
        if not any(match.ranked for match in self.matches):
            return meaning
        return f"{meaning}, and stand only beside rows that are near as well; {ABOUT}"


def search_folder(
    folder: Path,
    query: WeightedQuery,
    k: int,
    *,
    modality: str | None,
    space: str | None,
    choice: LoadChoice,
    follow_links: bool = False,
    pool: int | None = None,
) -> SearchResult:
    """Encode the folder's files of one modality, images by default, and rank them for the query."""
    modality = modality or IMAGE
    if is_composite(modality):
        raise typer.BadParameter(
            f"a folder holds no items of {modality}: put a table of them into an index, by --list of "
            "`mmencode index add`, and search that",
            param_hint="--in",
        )
    files = gather(modality, [str(folder)], follow_links=follow_links, limit=choice.limit)
    opened = open_space(space, choice)
    require_pool(opened, pool)
    asked = query.encode(opened)
    corpus = encode_items(opened, modality, files.batch, pool, role="document")
    failed = [*files.errors, *corpus.errors]
    require_some(len(corpus), failed)
    best = opened.search(asked, corpus, k)
    matches = [
        Match(files.batch[position], modality, score)
        for position, score in zip(best.positions[0].tolist(), best.scores[0].tolist(), strict=True)
    ]
    many = gives_many(opened)
    return SearchResult(opened.id, len(corpus), matches, failed, files.left_out, many)


def search_index(
    index: Index,
    query: WeightedQuery,
    k: int,
    *,
    modality: str | None,
    where: str | None,
    centred: bool,
    sought: Sought | None,
    choice: LoadChoice,
) -> SearchResult:
    """Rank the rows of an index that have the modality and meet the condition `where`, if these are given.

    Where words are `sought`, rows are ranked by these as well.
    """
    if not len(index):
        raise MmencodeError(
            f"there is nothing to search: {index.path} has no rows",
            remedy="fill the index first with `mmencode index add`",
        )
    rows = index.state().rows
    searched = None if where else rows.get(modality, 0) if modality else sum(rows.values())
    if sought is not None:
        options: dict[str, Any] = {"modality": modality, "where": where, "centred": centred}
        found = find_ranked(index, query, k, sought, choice, **options)
        ranked = [Match(hit.key, hit.modality, hit.score, hit.metadata, hit) for hit in found]
        return SearchResult(index.card.id, searched, ranked, many=gives_many(index.space))
    asked = query.encode(index.space)
    many = gives_many(index.space)
    if centred and many:
        raise typer.BadParameter(
            "the rows of this index have many vectors each, which have no mean: leave it out",
            param_hint="--centred",
        )
    with blame_usage("--where"):
        hits = index.search_embeddings(asked, k, where=where, among=modality, centred=centred)[0]
    matches = [Match(hit.key, hit.modality, hit.score, hit.metadata) for hit in hits]
    return SearchResult(index.card.id, searched, matches, many=many)
