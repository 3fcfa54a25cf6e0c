"""Where `mmencode search` looks: in a folder, which is encoded anew, or in an index, as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import InputError, MmencodeError
from ..plugins.spec import IMAGE
from .failures import require_some
from .items import gather
from .options import open_space
from .queries import Query

if TYPE_CHECKING:
    from ..index import Index


@dataclass(frozen=True, slots=True)
class Match:
    """A row that was found."""

    key: str
    modality: str
    score: float
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The match for a JSON document."""
        metadata = {name: plain(value) for name, value in self.metadata.items()}
        return {"item": self.key, "modality": self.modality, "score": self.score, "metadata": metadata}


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, in which space, and the items that couldn't be searched.

    `searched` is the number of rows among which it looked; None where a condition picks them. `left_out`
    counts what of a folder wasn't looked at, by the reason.
    """

    space: str
    searched: int | None
    matches: Sequence[Match]
    failed: Sequence[InputError] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)


def in_folder(
    folder: Path,
    query: Query,
    k: int,
    *,
    modality: str | None,
    space: str | None,
    device: str,
    limit: list[str] | None = None,
    trust: bool = False,
    follow_links: bool = False,
) -> Found:
    """Encode the folder's files of one modality, images if not said, and search them."""
    modality = modality or IMAGE
    files = gather(modality, [str(folder)], follow_links=follow_links)
    opened = open_space(space, device, limit, trust)
    asked = query.encoded(opened)
    corpus = opened.encode(modality, files.batch, on_error="skip", progress=True)
    failed = [*files.errors, *corpus.errors]
    require_some(len(corpus), failed)
    best = opened.search(asked, corpus, k)
    matches = [
        Match(files.batch[position], modality, score)
        for position, score in zip(best.positions[0].tolist(), best.scores[0].tolist(), strict=True)
    ]
    return Found(opened.id, len(corpus), matches, failed, files.left_out)


def in_index(
    index: Index, query: Query, k: int, *, modality: str | None, where: str | None, centred: bool
) -> Found:
    """Search the rows of an index, or those that `where` and the modality leave."""
    if not len(index):
        raise MmencodeError(
            f"there is nothing to search: {index.path} has no rows", remedy="add some to the index first"
        )
    asked = query.encoded(index.space)
    with understood("--where"):
        hits = index.search_embeddings(asked, k, where=where, among=modality, centred=centred)[0]
    rows = index.state().rows
    searched = rows.get(modality, 0) if modality else sum(rows.values())
    matches = [Match(hit.key, hit.modality, hit.score, hit.metadata) for hit in hits]
    return Found(index.card.id, None if where else searched, matches)


@contextmanager
def understood(option: str) -> Iterator[None]:
    """Make nonsense that an index is asked, such as a condition that isn't SQL, wrong usage of the option."""
    try:
        yield
    except ValueError as cause:
        if isinstance(cause, MmencodeError):
            raise
        raise typer.BadParameter(str(cause), param_hint=option) from cause


def plain(value: Any) -> Any:
    """A value as JSON can hold it: numbers that aren't finite are null, what it doesn't know is spelt out."""
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else str(value)
