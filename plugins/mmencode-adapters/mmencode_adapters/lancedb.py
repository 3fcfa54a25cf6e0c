"""LanceDB's embedding registry: a function called "mmencode", whose tables know the space of their vectors.

To import this module registers it, which every process has to do before it opens a table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lancedb.embeddings import EmbeddingFunction, get_registry
from PIL import Image
from pydantic import PrivateAttr

from mmencode import Embeddings

from .spaces import KeptSpace

NAME = "mmencode"
HOST = "the LanceDB table"
Row = np.ndarray[Any, np.dtype[np.float32]]


class SpaceFunction(EmbeddingFunction):
    """An embedding function of LanceDB that encodes the items of a column, and queries, by a space.

    space            a name or the path of a saved space
    modality         that of the column's items: texts, or paths or bytes of files
    query_modality   that of queries; a PIL.Image is one of "image" whatever this says
    fingerprint      is the space's, and written into the table by itself

    A row without an item gets no vector, where LanceDB is told `on_bad_vectors="null"`. LanceDB's retries are
    off: an item that can't be read fails at once.
    """

    space: str = "default"
    modality: str = "text"
    query_modality: str = "text"
    fingerprint: str = ""
    _kept: KeptSpace = PrivateAttr()

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self._kept = KeptSpace(self.space, self.fingerprint, host=HOST, is_recorded=bool(self.fingerprint))
        self.space, self.fingerprint = self._kept.name, self._kept.fingerprint

    def safe_model_dump(self) -> dict[str, Any]:
        """The fields that LanceDB writes into the table, the fingerprint among them."""
        return self.model_dump()

    def ndims(self) -> int:
        """The width of the space's vectors; SpaceMismatchError where it isn't the space of the table."""
        return self._kept.get().dim

    def compute_source_embeddings(self, items: Any, *args: Any, **kwargs: Any) -> list[Row | None]:
        """Encode the items of a column, in order; InputError names the row that can't be encoded."""
        given = self.sanitize_input(items)
        rows: list[Row | None] = [None] * len(given)
        places = [place for place, item in enumerate(given) if item is not None]
        encoded = self._kept.get().encode(self.modality, [given[place] for place in places], role="document")
        for place, row in zip(places, encoded.vectors, strict=True):
            rows[place] = row
        return rows

    def compute_query_embeddings(self, query: Any, *args: Any, **kwargs: Any) -> list[Row | None]:
        """Encode one query, as a list of one vector."""
        modality = "image" if isinstance(query, Image.Image) else self.query_modality
        return list(self._kept.get().encode(modality, [query], role="query").vectors)

    def compute_source_embeddings_with_retry(self, *args: Any, **kwargs: Any) -> list[Row | None]:
        """Encode the items of a column without a second attempt, which would fail as the first one did."""
        return self.compute_source_embeddings(*args, **kwargs)

    def compute_query_embeddings_with_retry(self, *args: Any, **kwargs: Any) -> list[Row | None]:
        """Encode one query without a second attempt."""
        return self.compute_query_embeddings(*args, **kwargs)

    def accept(self, embeddings: Embeddings) -> list[Row]:
        """The vectors of embeddings of the table's space, for LanceDB, which takes any list of equal width.

        SpaceMismatchError for those of another space.
        """
        return self._kept.accept(embeddings)


def register() -> None:
    """Register the function in LanceDB, once, however often this is called.

    LanceDB's own `register` raises KeyError the second time, or puts another class in its place.
    """
    registry = get_registry()
    try:
        held = registry.get(NAME)
    except KeyError:
        held = None
    if held is not SpaceFunction:
        registry.register(NAME)(SpaceFunction)


register()
