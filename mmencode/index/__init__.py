"""The package of `Index`, which keeps rows of one space in a folder, searched by vectors of that space."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .folders import Missing
from .index import Index
from .reranking import MaxSimReranker
from .results import Added, Failure, Hit, RankedHit, Rows, State

__all__ = [
    "Added",
    "Failure",
    "Hit",
    "Index",
    "MaxSimReranker",
    "RankedHit",
    "Rows",
    "State",
    "sync",
]


def sync(
    index: Index,
    folder: str | os.PathLike[str],
    modalities: Sequence[str] | None = None,
    *,
    missing: Missing = "few",
    follow_links: bool = False,
    retry: bool = False,
    progress: bool = False,
) -> Added:
    """Call `index.sync(folder, ...)`: this function is kept for one more release, use the method."""
    return index.sync(
        folder, modalities, missing=missing, follow_links=follow_links, retry=retry, progress=progress
    )
