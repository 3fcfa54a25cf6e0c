"""Rows and failures as they are, in the order of their keys."""

from __future__ import annotations

import random
from typing import Any

from ..embeddings.embeddings import Embeddings
from ..embeddings.surrogates import unescape_surrogates
from .columns import metadata_of, vectors_of
from .results import Failure, Rows
from .sql import is_one_of
from .store import Store


def read_rows(store: Store, space: str, condition: str | None) -> Rows:
    """The rows that meet a condition as LanceDB has it, or all."""
    with store.reading():
        found = _sorted(store.rows, condition)
    modalities = tuple(map(unescape_surrogates, found.column("modality").to_pylist()))
    kinds = set(modalities)
    embeddings = Embeddings(
        vectors_of(found.column("vector")),
        space=space,
        modality=kinds.pop() if len(kinds) == 1 else "mixed",
        keys=[unescape_surrogates(key) for key in found.column("key").to_pylist()],
    )
    return Rows(embeddings, modalities, tuple(metadata_of(found)))


def read_failures(store: Store) -> tuple[Failure, ...]:
    """All failures, in the order of their keys."""
    with store.reading():
        found = _sorted(store.failures, None).select(["key", "modality", "reason", "fault"])
    return tuple(
        Failure(unescape_surrogates(key), unescape_surrogates(modality), unescape_surrogates(reason), fault)
        for key, modality, reason, fault in map(dict.values, found.to_pylist())
    )


def sampled(store: Store, space: str, count: int) -> Embeddings:
    """The vectors of rows drawn at random, always the same of the same rows."""
    with store.reading():
        keys = store.rows.search().select(["key"]).to_arrow().column("key").to_pylist()
    chosen = random.Random(0).sample(sorted(keys), min(count, len(keys)))
    return read_rows(store, space, is_one_of("key", chosen)).embeddings


def _sorted(table: Any, condition: str | None) -> Any:
    search = table.search()
    if condition is not None:
        search = search.where(condition)
    return search.to_arrow().sort_by("key")
