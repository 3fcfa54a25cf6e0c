"""The bodies of the page's requests."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..embeddings.array_types import Vectors
from .faults import RequestError
from .shelf import MOST_KEYS

MOST_LABELS, MOST_ITEMS, MOST_MATCHES = 200, 100, 100
MOST_NUMBERS = 2**22  # of one vector, or of all of an item's many

Key = Annotated[str, Field(max_length=100_000)]
Modality = Annotated[str, Field(max_length=200)]


class Body(BaseModel):
    """A body whose fields are all known."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)


class SentVector(Body):
    """The vectors of one item as a browser holds them: float32 in base64, row by row."""

    numbers: Annotated[str, Field(max_length=MOST_NUMBERS * 16 // 3 + 4)]
    rows: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]

    @classmethod
    def of(cls, vectors: Vectors) -> SentVector:
        """Write vectors `[dim]` or `[t, dim]`."""
        rows = np.atleast_2d(np.ascontiguousarray(vectors, "<f4"))
        numbers = base64.b64encode(rows.tobytes()).decode()
        return cls(numbers=numbers, rows=rows.shape[0], width=rows.shape[1])

    def read(self, dim: int) -> Vectors:
        """Read vectors `[t, dim]`; RequestError for others than finite unit vectors of this width."""
        try:
            content = base64.b64decode(self.numbers.encode("ascii"), validate=True)
        except (binascii.Error, ValueError):
            content = b""
        if self.width != dim or len(content) != 4 * self.rows * self.width:
            raise _misfit()
        found = np.frombuffer(content, "<f4").astype(np.float32).reshape(self.rows, self.width)
        lengths = np.linalg.norm(found.astype(np.float64), axis=1)
        if not (np.isfinite(found).all() and np.allclose(lengths, 1, atol=1e-3)):
            raise _misfit()
        return found


def _misfit() -> RequestError:
    return RequestError(
        "the vector isn't one of this space",
        status=422,
        code="vector",
        remedy="add the item again: the server may have another space by now",
    )


class EmbedAsk(Body):
    """An item to encode: a row of the index by its key, or words or a data: URI with their modality."""

    key: Key = ""
    modality: Modality = ""
    item: str = ""


class Target(Body):
    """An encoded item: a row of the index by its key, or a vector with its modality."""

    key: Key = ""
    modality: Modality = ""
    vector: SentVector | None = None


class NeighboursAsk(Target):
    """A search for the rows nearest to an encoded item."""

    k: Annotated[int, Field(ge=1, le=MOST_MATCHES)] = 12
    among: Annotated[list[Modality], Field(max_length=20)] = []


class PreviewsAsk(Body):
    """Rows of the index to be shown."""

    keys: Annotated[list[Key], Field(min_length=1, max_length=MOST_KEYS)]


class LabelledItem(Body):
    """An encoded item whose labels are scored."""

    modality: Modality
    vector: SentVector


class LabelsAsk(Body):
    """Labels to score for encoded items."""

    labels: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=500)]],
        Field(min_length=1, max_length=MOST_LABELS),
    ]
    items: Annotated[list[LabelledItem], Field(min_length=1, max_length=MOST_ITEMS)]


class PartsAsk(EmbedAsk):
    """An item whose parts are judged by how well it matches another."""

    target: Target


class MapAsk(Body):
    """A map of the index."""

    centred: bool = False
