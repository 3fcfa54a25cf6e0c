"""The reading of rows and failures out of an index, in the order of their keys."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..embeddings.embeddings import Embeddings
from ..embeddings.multi import MultiEmbeddings
from ..embeddings.surrogates import escape_surrogates, unescape_surrogates
from ..embeddings.token_pooling import id_before_pooling
from ..errors import UnknownNameError
from .columns import metadata_of, vectors_of
from .layout import StoredItems
from .lazy_space import LazySpace
from .results import Failure, Rows
from .sql import is_one_of
from .store import Store
from .tables import KEYS_IN_CONDITION

ASKED = 32  # vectors of a query that is drawn from rows


def read_rows(store: Store, space: LazySpace, condition: str | None) -> Rows:
    """Read the rows that meet a checked condition, or all."""
    with store.reading():
        table = _read_sorted(store.rows, condition)
    return _make_rows(store, space, table)


def read_by_keys(store: Store, space: LazySpace, keys: Sequence[str], *, required: bool) -> Rows:
    """Read the rows with these keys, in the order of the keys.

    UnknownNameError for the first that no row has where they are `required`; else those are left out.
    """
    import pyarrow as pa

    escaped = [escape_surrogates(key) for key in keys]
    asked = list(dict.fromkeys(escaped))
    with store.reading():
        parts = [_find_rows(store.rows, asked[:1])]  # also without keys, for the columns
        parts += [
            _find_rows(store.rows, asked[start : start + KEYS_IN_CONDITION])
            for start in range(1, len(asked), KEYS_IN_CONDITION)
        ]
    table = pa.concat_tables(parts)
    places = {key: place for place, key in enumerate(table.column("key").to_pylist())}
    lacking = [key for key in asked if key not in places]
    if lacking and required:
        raise UnknownNameError(
            f"no row has the key {unescape_surrogates(lacking[0])!r:.200} ({len(lacking)} such keys of "
            f"{len(keys)})",
            culprit=str(store.tables.folder),
            remedy='leave it out, or get(keys, missing="skip") leaves such keys out',
        )
    chosen = [places[key] for key in escaped if key in places]
    return _make_rows(store, space, table.take(pa.array(chosen, pa.int64())))


def _find_rows(table: Any, keys: Sequence[str]) -> Any:
    return table.search().where(is_one_of("key", keys) if keys else "false").to_arrow()


def _make_rows(store: Store, space: LazySpace, table: Any) -> Rows:
    """Make the rows of a table of them, in its order."""
    modalities = tuple(map(unescape_surrogates, table.column("modality").to_pylist()))
    distinct = set(modalities)
    widths = space.find_widths(distinct)
    origin: dict[str, Any] = {
        "towers": space.find_towers(distinct),
        "modality": distinct.pop() if len(distinct) == 1 else "mixed",
        "keys": [unescape_surrogates(key) for key in table.column("key").to_pylist()],
    }
    embeddings: Embeddings | MultiEmbeddings
    if store.layout.many:
        items = StoredItems(table.column("vector"))
        vectors = items.rows(0, len(items))
        embeddings = MultiEmbeddings(vectors, items.counts, space=store.layout.id_of(space.id), **origin)
    else:
        embeddings = Embeddings(vectors_of(table.column("vector")), space=space.id, widths=widths, **origin)
    return Rows(embeddings, modalities, tuple(metadata_of(table)))


def read_failures(store: Store) -> tuple[Failure, ...]:
    """Read all failures, in the order of their keys."""
    with store.reading():
        table = _read_sorted(store.failures, None).select(["key", "modality", "reason", "fault"])
    return tuple(
        Failure(unescape_surrogates(key), unescape_surrogates(modality), unescape_surrogates(reason), fault)
        for key, modality, reason, fault in map(dict.values, table.to_pylist())
    )


def draw_rows(store: Store, space: LazySpace, count: int) -> Embeddings | MultiEmbeddings:
    """Draw the vectors of rows at random; of the same rows always the same ones.

    Of rows with many vectors each, 32 of these at most, as many as a query often has.
    """
    with store.reading():
        keys = store.rows.search().select(["key"]).to_arrow().column("key").to_pylist()
    chosen = random.Random(0).sample(sorted(keys), min(count, len(keys)))
    drawn = read_rows(store, space, is_one_of("key", chosen)).embeddings
    return drawn if isinstance(drawn, Embeddings) else _shorten(drawn)


def _shorten(items: MultiEmbeddings) -> MultiEmbeddings:
    """Draw a few of the vectors of each item, in their order."""
    draw = random.Random(0)
    shorter = [rows[sorted(draw.sample(range(len(rows)), min(ASKED, len(rows))))] for rows in items.arrays]
    return MultiEmbeddings(
        np.concatenate([items.vectors[:0], *shorter]),
        [len(rows) for rows in shorter],
        space=id_before_pooling(items.space),
        modality=items.modality,
        keys=items.keys,
        towers=items.towers,
    )


def _read_sorted(table: Any, condition: str | None) -> Any:
    search = table.search()
    if condition is not None:
        search = search.where(condition)
    return search.to_arrow().sort_by("key")
