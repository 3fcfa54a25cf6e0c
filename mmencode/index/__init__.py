"""The package of `Index`, which keeps rows of one space in a folder, searched by vectors of that space."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .folders import Missing
from .history import Edition, History
from .index import Index
from .migration import LeftOut, Migrated, MigrationPlan, migrate, plan_migration
from .reranking import MaxSimReranker
from .results import Added, Failure, Hit, RankedHit, Rows, State

__all__ = [
    "Added",
    "Edition",
    "Failure",
    "History",
    "Hit",
    "Index",
    "LeftOut",
    "MaxSimReranker",
    "Migrated",
    "MigrationPlan",
    "RankedHit",
    "Rows",
    "State",
    "migrate",
    "plan_migration",
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
