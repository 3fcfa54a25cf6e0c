"""An index as a server shows it: its rows by their keys, their neighbours, and previews of rows alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..embeddings.embeddings import Embeddings
from ..embeddings.multi import MultiEmbeddings
from ..errors import InputError
from ..index import Hit, Index, Rows
from ..inputs import Limits
from ..pages.previews import Preview, make_preview

MOST_KEYS = 100  # of one request


@dataclass(frozen=True, slots=True)
class Shelf:
    """An open index, read by clients who may see its rows and what they were made of, and nothing else."""

    index: Index
    limits: Limits

    def find(self, keys: Iterable[str]) -> Rows:
        """Read the rows of these keys, in the order of the keys; InputError for a key that has none."""
        wanted = list(dict.fromkeys(keys))
        if len(wanted) > MOST_KEYS:
            raise InputError(
                f"{len(wanted)} keys are asked for at once",
                source="the request",
                remedy=f"ask for at most {MOST_KEYS}",
                fault="limit",
            )
        rows = self.index.get(wanted, missing="skip")
        found = set(rows.embeddings.keys or ())
        absent = [place for place, key in enumerate(wanted) if key not in found]
        if absent:
            raise InputError(
                "the index has no row of this key",
                source=f"key {absent[0] + 1} of {len(wanted)}",
                remedy="pass a key as a search gives it, letter by letter",
            )
        return rows

    def neighbours(
        self,
        queries: Embeddings | MultiEmbeddings,
        k: int,
        *,
        among: Sequence[str] | None = None,
        where: str | None = None,
        without: str | None = None,
    ) -> list[Hit]:
        """Find the `k` rows nearest to a single query, but the row whose key is `without`.

        Raises as `Index.search_embeddings`.
        """
        extra = 0 if without is None else 1
        (hits,) = self.index.search_embeddings(queries, k + extra, among=among or None, where=where or None)
        return [hit for hit in hits if hit.key != without][:k]

    def preview(self, modality: str, key: str) -> Preview:
        """Make the preview of a row, which the caller has found in the index by its key."""
        return make_preview(modality, key, self.limits)


def rows_of(rows: Rows, modality: str) -> Embeddings:
    """Take the vectors of one modality out of rows that have one vector each.

    Raises InputError where rows have many.
    """
    given = rows.embeddings
    if isinstance(given, MultiEmbeddings):
        raise InputError(
            "rows of this index have many vectors each",
            source="a key",
            remedy="classify items of an index whose rows have one vector",
        )
    places = np.flatnonzero(np.array(rows.modalities) == modality)
    chosen: Any = given[places]
    return Embeddings(
        chosen.vectors,
        space=chosen.space,
        modality=modality,
        keys=chosen.keys,
        towers=_towers(given, modality),
    )


def _towers(given: Embeddings, modality: str) -> dict[str, str]:
    return {key: digest for key, digest in given.towers.items() if key.partition(":")[0] == modality}
