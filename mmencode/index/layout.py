"""The layout of an index's vectors: one for each row, or many, as they are or halved and pooled."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments.counts import require_positive
from ..embeddings.array_types import Array, Positions, Vectors
from ..embeddings.embeddings import Embeddings
from ..embeddings.multi import MultiEmbeddings
from ..embeddings.token_pooling import id_before_pooling, id_of_pooling
from ..embeddings.unit import unit_rows
from ..errors import SpaceMismatchError
from ..spaces.space import Space

PRECISIONS = ("float32", "float16")
_TEXT = re.compile(r"many (float32|float16) pool([1-9][0-9]{0,8})\+(0|[1-9][0-9]{0,8})")


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of an index's vectors, which is part of its identity.

    many       whether each row has many, as late interaction compares them
    precision  the type of their numbers, "float32" or, of many, "float16"
    pool       the part to which the vectors of each row were merged, and how many of them, the first
               `protected`, weren't
    """

    many: bool = False
    precision: str = "float32"
    pool: int = 1
    protected: int = 0

    @classmethod
    def of(cls, space: Space, precision: str, pool: int, protected: int) -> Layout:
        """Choose the layout for a space; ValueError for settings that don't fit its vectors."""
        many = any(spec.outputs == "many" for spec in space.specs.values())
        if precision not in PRECISIONS:
            raise ValueError(f'precision is {precision!r:.100}: make it "float32" or "float16"')
        pool = require_positive(pool, "pool")
        protected = 0 if protected == 0 else require_positive(protected, "protected")
        if not many and (precision, pool, protected) != ("float32", 1, 0):
            raise ValueError(
                f"precision, pool and protected are for items with many vectors each, and those of space "
                f"{space.name!r} have one: leave them out, or name a space of late interaction"
            )
        return cls(many, precision, pool, protected if pool > 1 else 0)

    @classmethod
    def parse(cls, text: str) -> Layout | None:
        """Read what `text` wrote; None for anything else."""
        if not text:
            return cls()
        found = _TEXT.fullmatch(text)
        return found and cls(True, found[1], int(found[2]), int(found[3]))

    @property
    def text(self) -> str:
        """The layout as one line; "" for single vectors."""
        return f"many {self.precision} pool{self.pool}+{self.protected}" if self.many else ""

    def describe(self) -> str:
        """Describe the layout in words."""
        if not self.many:
            return "one for each row"
        protected = f", but for the first {self.protected}" if self.protected else ""
        pooled = f", pooled by {self.pool}{protected}" if self.pool > 1 else ""
        return f"many for each row, {self.precision}{pooled}"

    def id_of(self, space: str) -> str:
        """The id that vectors of a space have in this layout."""
        return id_of_pooling(space, self.pool, self.protected) if self.pool > 1 else space

    def require(self, embeddings: object, *, doing: str) -> Embeddings | MultiEmbeddings:
        """Raise SpaceMismatchError for one vector where the index has many, or the reverse.

        TypeError for what doesn't say what space it belongs to.
        """
        if isinstance(embeddings, MultiEmbeddings if self.many else Embeddings):
            return embeddings
        if not isinstance(embeddings, (Embeddings, MultiEmbeddings)):
            wanted = "MultiEmbeddings that encode_multi()" if self.many else "Embeddings that encode()"
            raise TypeError(f"{type(embeddings).__name__} can't be {doing}: pass the {wanted} gives")
        held, given = ("many vectors", "one") if self.many else ("one vector", "many")
        verb = "encode_multi()" if self.many else "encode()"
        raise SpaceMismatchError(
            f"the index holds {held} for each row, and items with {given} for each can't be {doing} in it",
            remedy=f"encode with {verb} of the index's own space, Index.open(path).space, or make another "
            "index for these",
        )

    def fit(self, embeddings: MultiEmbeddings) -> MultiEmbeddings:
        """Pool vectors as the index has it, unless they are; SpaceMismatchError where they are otherwise."""
        if embeddings.space == self.id_of(id_before_pooling(embeddings.space)):
            return embeddings
        if embeddings.space != id_before_pooling(embeddings.space):
            raise SpaceMismatchError(
                f"the vectors were pooled, {embeddings.space}, and the index has pool={self.pool} and "
                f"protected={self.protected}",
                remedy="add what encode_multi() gave without `pool`, which the index pools as it was made to",
            )
        return embeddings.pool(self.pool, protected=self.protected)

    def vector_type(self, dim: int) -> Any:
        """The type of the column of vectors of this width."""
        import pyarrow as pa

        number = pa.float16() if self.precision == "float16" else pa.float32()
        one = pa.list_(number, dim)
        return pa.list_(one) if self.many else one

    def column(self, embeddings: Embeddings | MultiEmbeddings) -> Any:
        """Make a column of vectors, without a copy of those in float32."""
        import pyarrow as pa

        numbers = embeddings.vectors.astype(self.precision, copy=False)
        rows = pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), embeddings.dim)
        if isinstance(embeddings, Embeddings):
            return rows
        return pa.ListArray.from_arrays(pa.array([0, *embeddings.ends.tolist()], pa.int32()), rows)


SINGLE = Layout()


class StoredItems:
    """Rows with many vectors each, out of a column; those in float16 are turned into vectors when read."""

    def __init__(self, column: Any) -> None:
        pieces = column.chunks if hasattr(column, "chunks") else [column]
        one = column.type.value_type
        numbers = [_numbers_of(piece.flatten()) for piece in pieces]
        if len(numbers) != 1:
            numbers.append(np.empty((0, one.list_size), one.value_type.to_pandas_dtype()))
        self._numbers = np.concatenate(numbers) if len(numbers) > 1 else numbers[0]
        counts = [piece.value_lengths().to_numpy(zero_copy_only=False) for piece in pieces]
        self.counts: Positions = np.concatenate([np.empty(0, np.int64), *counts]).astype(np.int64)
        self.ends: Positions = np.cumsum(self.counts)

    def __len__(self) -> int:
        return len(self._numbers)

    def rows(self, start: int, end: int) -> Vectors:
        """The vectors from one row to another, whichever items they belong to."""
        numbers = self._numbers[start:end]
        if numbers.dtype == np.float32:
            return numbers
        return unit_rows(numbers.astype(np.float32), "the values")


def _numbers_of(rows: Any) -> Array:
    numbers: Array = rows.flatten().to_numpy(zero_copy_only=False)
    return numbers.reshape(-1, rows.type.list_size)
