"""The reading of rows and failures out of an index, in the order of their keys."""

from __future__ import annotations

import random
from typing import Any

from ..embeddings.embeddings import Embeddings
from ..embeddings.surrogates import unescape_surrogates
from .columns import metadata_of, vectors_of
from .lazy_space import LazySpace
from .results import Failure, Rows
from .sql import is_one_of
from .store import Store


def read_rows(store: Store, space: LazySpace, condition: str | None) -> Rows:
    """Read the rows that meet a checked condition, or all."""
    with store.reading():
        table = _read_sorted(store.rows, condition)
    modalities = tuple(map(unescape_surrogates, table.column("modality").to_pylist()))
    distinct = set(modalities)
    towers = space.find_towers(distinct)
    embeddings = Embeddings(
        vectors_of(table.column("vector")),
        space=space.id,
        modality=distinct.pop() if len(distinct) == 1 else "mixed",
        keys=[unescape_surrogates(key) for key in table.column("key").to_pylist()],
        towers=towers,
    )
    return Rows(embeddings, modalities, tuple(metadata_of(table)))


def read_failures(store: Store) -> tuple[Failure, ...]:
    """Read all failures, in the order of their keys."""
    with store.reading():
        table = _read_sorted(store.failures, None).select(["key", "modality", "reason", "fault"])
    return tuple(
        Failure(unescape_surrogates(key), unescape_surrogates(modality), unescape_surrogates(reason), fault)
        for key, modality, reason, fault in map(dict.values, table.to_pylist())
    )


def draw_rows(store: Store, space: LazySpace, count: int) -> Embeddings:
    """Draw the vectors of rows at random; of the same rows always the same ones."""
    with store.reading():
        keys = store.rows.search().select(["key"]).to_arrow().column("key").to_pylist()
    chosen = random.Random(0).sample(sorted(keys), min(count, len(keys)))
    return read_rows(store, space, is_one_of("key", chosen)).embeddings


def _read_sorted(table: Any, condition: str | None) -> Any:
    search = table.search()
    if condition is not None:
        search = search.where(condition)
    return search.to_arrow().sort_by("key")
