"""MultiEmbeddings have many unit vectors for each item; MultiQuantised holds their codes.

Both turn into each other, so both classes stand in this module. The score of two items is in `maxsim`, the
merging of vectors in `token_pooling`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Literal, cast

import numpy as np

from ..arguments.counts import require_positive
from ..arguments.lists import to_list
from ..errors import InputError
from .array_types import Array, Flags, Positions, Vectors
from .blanks import Fill, align_rows, find_blank, number_of_fill, require_none_blank
from .codes import decode_numbers, read_width
from .embeddings import Embeddings
from .files import (
    ARRAYS,
    Record,
    errors_from_text,
    errors_to_text,
    items_table_of,
    read,
    readable,
    towers_to_facts,
)
from .from_tables import Identified, Names, read_items_table
from .interchange import Unchanging, as_read_only, row_index
from .multi_files import items_of, write_items
from .ragged import counts_of, ends_of, pick_rows, places_of, starts_of
from .rows import join_origins, join_towers, pick_keys, require_one_each
from .token_pooling import id_of_pooling, pool_tokens
from .unit import require_unit, unit_rows

MultiCodeKind = Literal["float16", "binary"]

_FORMAT = "mmencode-multi-embeddings-1"
_CODES_FORMAT = "mmencode-multi-codes-1"
_UNIT = "unit"  # the check that vectors passed
_ORIGINS = ("counts", "space", "modality", "positions", "errors", "keys", "towers")


class MultiEmbeddings(Unchanging):
    """Many unit vectors for each item, as late interaction compares them, with the identity of their space.

    vectors    float32 `[rows, dim]`, those of the first item, then those of the second, and so on
    counts     how many vectors each item has, one at least; `ends` says where each item's end
    space      the id of the space's card, and `modality`, as in Embeddings
    positions  the place of each item in the batch it came from; `errors` holds the items that were skipped
    keys       where they are given, the name of each item
    towers     by modality, the digests of the encoders that made the vectors, as in Embeddings

    `arrays` has the vectors of each item, and iteration gives them one item after the other. Indexing by an
    int, slice, mask or array picks items and gives MultiEmbeddings again. Nothing of them is changed
    afterwards: `vectors`, `ends` and `positions` are read-only views. ValueError when these don't fit
    together.
    """

    __slots__ = (
        "_checked",
        "_memory",
        "ends",
        "errors",
        "keys",
        "modality",
        "positions",
        "space",
        "towers",
        "vectors",
    )

    def __init__(
        self,
        vectors: Vectors,
        counts: Sequence[int] | Positions,
        *,
        space: str,
        modality: str,
        positions: Positions | None = None,
        errors: Sequence[InputError] = (),
        keys: Sequence[str | os.PathLike[str]] | None = None,
        towers: Mapping[str, str] | None = None,
    ) -> None:
        self._memory: Final[Vectors] = np.ascontiguousarray(vectors, dtype=np.float32)
        if self._memory.ndim != 2:
            raise ValueError(f"vectors have the shape {self._memory.shape}: make it [rows, dim]")
        self.vectors: Final[Vectors] = as_read_only(self._memory)
        self.ends: Final[Positions] = as_read_only(ends_of(counts, len(self.vectors)))
        places = np.arange(len(self.ends)) if positions is None else np.asarray(positions, np.int64)
        self.positions: Final[Positions] = as_read_only(places)
        self.keys: Final = None if keys is None else tuple(os.fsdecode(key) for key in to_list(keys, "keys"))
        require_one_each(len(self.ends), "items", self.positions, self.keys)
        self.space: Final = space
        self.modality: Final = modality
        self.errors: Final = tuple(errors)
        self.towers: Final = dict(towers or {})
        self._checked: Final[set[str]] = set()

    @property
    def dim(self) -> int:
        """The width of the vectors."""
        return int(self.vectors.shape[1])

    @property
    def counts(self) -> Positions:
        """The number of vectors of each item, `[n]`."""
        return counts_of(self.ends)

    @property
    def arrays(self) -> tuple[Vectors, ...]:
        """The vectors of each item, `[count, dim]`, in the memory of `vectors`."""
        return tuple(self.vectors[start:end] for start, end in pairwise([0, *self.ends.tolist()]))

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[Vectors]:
        return iter(self.arrays)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        raise TypeError(
            "MultiEmbeddings are no array, since items have different numbers of vectors: .vectors are those "
            "of all items as one, .arrays those of each, and .mean() gives one for each item"
        )

    def __getitem__(self, rows: int | slice | Sequence[int] | Array) -> MultiEmbeddings:
        places = places_of(row_index(rows, "MultiEmbeddings"), len(self))
        return self._with(
            vectors=pick_rows(self._memory, self.ends, places),
            counts=self.counts[places],
            positions=self.positions[places],
            keys=pick_keys(self.keys, places),
        )

    def __repr__(self) -> str:
        skipped = f", {len(self.errors)} skipped" if self.errors else ""
        size = f"{len(self)} items, {len(self.vectors)} x {self.dim}"
        return f"<MultiEmbeddings {size}, {self.modality}, {self.space}{skipped}>"

    def _with(self, **changes: Any) -> MultiEmbeddings:
        """Make other MultiEmbeddings of these, with the changes that arguments of the constructor say."""
        return MultiEmbeddings(**{**self.__getstate__(), **changes})

    def __getstate__(self) -> dict[str, Any]:
        return {"vectors": self._memory, **{name: getattr(self, name) for name in _ORIGINS}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        MultiEmbeddings.__init__(self, **state)

    def rows(self, start: int, end: int) -> Vectors:
        """The vectors from one row to another, whichever items they belong to."""
        return self.vectors[start:end]

    def with_keys(self, keys: Sequence[str | os.PathLike[str]]) -> MultiEmbeddings:
        """Give each item its key; `keys` has one for each item of the batch, in order.

        Skipped items have keys, too. ValueError when an item has no key, TypeError for a table and for a
        collection without an order.
        """
        keys = to_list(keys, "keys")
        if len(self) and not 0 <= self.positions.min() <= self.positions.max() < len(keys):
            raise ValueError(
                f"items come from places up to {self.positions.max()}, and there are {len(keys)} keys: "
                "give one for each item of the batch"
            )
        return self._with(keys=[keys[place] for place in self.positions.tolist()])

    @staticmethod
    def from_table(
        table: Any,
        *,
        space: str | Identified | None = None,
        modality: str = "",
        vectors: str = "vectors",
        keys: str = "key",
        positions: str = "position",
    ) -> MultiEmbeddings:
        """Take the vectors of items out of a table in memory, whose rows have a list of vectors each.

        As `Embeddings.from_table` takes single ones, from the tables that `pyarrow.table(embeddings)` and
        others make. Raises as that does, and InputError, with the row, for an item without vectors.
        """
        found = read_items_table(table, _FORMAT, space, modality, Names(vectors, keys, positions))
        assert found.counts is not None
        origin = {name: value for name, value in found.origin.items() if name != "widths"}
        return MultiEmbeddings(found.vectors, found.counts, **origin)

    @staticmethod
    def concatenate(parts: Sequence[MultiEmbeddings]) -> MultiEmbeddings:
        """Put the items of several results of one space behind each other; positions and errors stay.

        The modality is "mixed" unless all parts have the same one. There are keys where all parts have them.
        Raises SpaceMismatchError for parts of two spaces or pooled differently, and for items of one modality
        that two encoders of a space made, ValueError without parts.
        """
        origins = join_origins(parts)
        return MultiEmbeddings(
            np.concatenate([part.vectors for part in parts]),
            np.concatenate([part.counts for part in parts]),
            **origins,
            towers=join_towers([part.towers for part in parts]),
        )

    def require_unit(self) -> None:
        """Raise ValueError, naming the first row, for vectors that aren't finite or not of length 1.

        Vectors that passed are not checked again.
        """
        if _UNIT not in self._checked:
            require_unit(self.vectors)
            self._checked.add(_UNIT)

    @property
    def blank(self) -> Flags:
        """The items that stand for ones without vectors, marked: all their numbers are NaN, or zero."""
        found = find_blank(self.vectors)
        blank: Flags = np.logical_and.reduceat(found, starts_of(self.ends)) if len(self) else found
        return blank

    def with_blanks(self, fill: Fill = "nan") -> MultiEmbeddings:
        """Give every item of the batch its place, with one blank vector for each item that was skipped.

        As `Embeddings.with_blanks` does with rows. ValueError for another fill, and where items were picked.
        """
        number = number_of_fill(fill)
        every, places = align_rows(self.positions, self.errors)
        if len(every) == len(self) and not self.blank.any() and (places[:-1] < places[1:]).all():
            return self
        arrays = [np.full((1, self.dim), number, np.float32)] * len(every)
        for place, rows, blank in zip(places.tolist(), self.arrays, self.blank.tolist(), strict=True):
            arrays[place] = arrays[place] if blank else rows
        keys = None
        if self.keys is not None and len(every) == len(self):
            keys = [self.keys[row] for row in np.argsort(places).tolist()]
        counts = np.array([len(rows) for rows in arrays], np.int64)
        vectors = np.concatenate([self.vectors[:0], *arrays])
        return self._with(vectors=vectors, counts=counts, positions=every, keys=keys)

    def pool(self, factor: int, *, protected: int = 0) -> MultiEmbeddings:
        """Merge the vectors of each item to a `factor`-th of their number, alike ones with each other.

        Vectors are clustered by Ward's method on their cosine distances, and each cluster becomes its mean,
        at unit length (Clavié, Chaffin and Adams, "Reducing the Footprint of Multi-Vector Retrieval with
        Minimal Performance Impact via Token Pooling", 2024). The first `protected` vectors of each item stay,
        such as that of a mark at the start.

        The new id is the old one with `:pool<factor>` at its end, and `+<protected>` where some stay. Pooled
        documents are compared with queries that aren't; they aren't concatenated with others. A factor of 1
        gives these MultiEmbeddings themselves. ValueError for a factor below 1 and for vectors that are
        pooled already.
        """
        factor, protected = require_positive(factor, "factor"), _require_protected(protected)
        if factor == 1:
            return self
        space = id_of_pooling(self.space, factor, protected)
        self.require_unit()
        pooled = [pool_tokens(rows, factor, protected) for rows in self.arrays]
        return self._with(
            vectors=np.concatenate([self.vectors[:0], *pooled]),
            counts=np.array([len(rows) for rows in pooled], np.int64),
            space=space,
        )

    def mean(self) -> Embeddings:
        """Average the vectors of each item to a single one of unit length, in a space of its own.

        The id of that space is this one's with `:mean` at its end: one vector says roughly what an item is
        about, for maps and a first choice. ValueError for an item whose vectors cancel each other out.
        """
        sums = np.add.reduceat(self.vectors, starts_of(self.ends), axis=0) if len(self) else self.vectors
        return Embeddings(
            unit_rows(sums, "the sums of vectors"),
            space=f"{self.space}:mean",
            modality=self.modality,
            positions=self.positions,
            errors=self.errors,
            keys=self.keys,
            towers=self.towers,
        )

    def quantize(self, kind: MultiCodeKind) -> MultiQuantised:
        """Round each number to half its bytes, "float16", or to one bit, its sign, "binary".

        ValueError for another kind, and for vectors that aren't finite.
        """
        known = _require_kind(kind)
        require_none_blank(self.blank, "quantized")
        if not np.isfinite(self.vectors).all():
            raise ValueError("some vectors aren't finite, and no code stands for that")
        signs = known == "binary"
        return MultiQuantised(
            kind=known,
            codes=np.packbits(self.vectors > 0, axis=1) if signs else self.vectors.astype(np.float16),
            counts=self.counts,
            dim=self.dim,
            space=self.space,
            modality=self.modality,
            positions=self.positions,
            keys=self.keys,
            towers=self.towers,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write vectors, positions, keys and identity, in the format that the suffix says.

        `.safetensors` and `.npz` hold arrays; `.parquet`, `.arrow` and `.feather` hold a table with one row
        for each vector, whose column `item` counts the items. Otherwise as `Embeddings.save`.
        """
        write_items(path, self._record())

    def _record(self) -> Record:
        facts = {
            "format": _FORMAT,
            "space": self.space,
            "modality": self.modality,
            "errors": errors_to_text(self.errors),
            **towers_to_facts(self.towers),
        }
        arrays: dict[str, Array] = {
            "vectors": self.vectors,
            "ends": self.ends,
            "positions": self.positions,
        }
        return Record(arrays, facts, self.keys)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Export a table with a row for each item: key, position and vectors, a list of them.

        The identity stands in its metadata, and the vectors aren't copied. MissingPackageError without
        pyarrow.
        """
        return items_table_of(self._record()).__arrow_c_stream__(requested_schema)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> MultiEmbeddings:
        """Read a file that `save` wrote; the suffix says its format.

        InputError for a file with other content, vectors that aren't finite, items without vectors or
        positions below 0, and for one that would take many times its own size of memory; ValueError for
        another suffix; MissingPackageError for tables without pyarrow.
        """
        record = read(path, _FORMAT)
        with readable(path):
            counts, positions, keys = items_of(record)
            return MultiEmbeddings(
                record.array("vectors", np.float32),
                counts,
                space=record.fact("space"),
                modality=record.fact("modality"),
                positions=positions,
                errors=errors_from_text(record.fact("errors")),
                keys=keys,
                towers=record.towers(),
            )


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class MultiQuantised:
    """Codes of MultiEmbeddings, with the identity of their space.

    kind       "float16", two bytes for each number, or "binary", one bit for its sign
    codes      float16 `[rows, dim]`, or the packed bits, uint8 `[rows, ceil(dim / 8)]`
    counts     how many vectors each item has
    dim        the width of the vectors that they stand for
    positions  and `modality`, `keys`: those of the embeddings; errors of skipped items are not kept
    towers     by modality, the digests of the encoders that made the embeddings

    `search` takes them as a corpus, and turns a block at a time into vectors. ValueError when these don't fit
    together.
    """

    kind: MultiCodeKind
    codes: Array
    counts: Positions
    dim: int
    space: str
    modality: str
    positions: Positions
    keys: tuple[str, ...] | None = None
    towers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        signs = _require_kind(self.kind) == "binary"
        width, dtype = (-(-self.dim // 8), np.uint8) if signs else (self.dim, np.float16)
        if self.codes.ndim != 2 or self.codes.shape[1] != width or self.codes.dtype != dtype:
            raise ValueError(
                f"codes are {self.codes.dtype} {list(self.codes.shape)}: "
                f"{self.kind} ones of {self.dim} numbers are {np.dtype(dtype)} [rows, {width}]"
            )
        ends_of(self.counts, len(self.codes))
        require_one_each(len(self.counts), "items", self.positions, self.keys)

    @property
    def ends(self) -> Positions:
        """The row at which each item ends, `[n]`."""
        return np.cumsum(self.counts, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.counts)

    def __repr__(self) -> str:
        size = f"{len(self)} items, {len(self.codes)} x {self.dim}"
        return f"<MultiQuantised {size}, {self.kind}, {self.modality}, {self.space}>"

    def rows(self, start: int, end: int) -> Vectors:
        """The vectors that the codes from one row to another stand for, float32 and of unit length."""
        if self.kind == "binary":
            return decode_numbers(self.codes[start:end], self.dim, None) / np.float32(np.sqrt(self.dim))
        return unit_rows(self.codes[start:end].astype(np.float32), "the values")

    def dequantize(self) -> MultiEmbeddings:
        """Turn codes back into MultiEmbeddings near the original ones, under the same space's id.

        Those of "float16" are within a cosine of 0.999999. Those of "binary" have nothing but signs: the
        cosine of two of them is 1 - 2 * hamming / dim, and that of one with an exact vector ranks well.
        """
        return MultiEmbeddings(
            self.rows(0, len(self.codes)),
            self.counts,
            space=self.space,
            modality=self.modality,
            positions=self.positions,
            keys=self.keys,
            towers=self.towers,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write codes and identity as `.safetensors` or `.npz`, whole or not at all.

        ValueError for another suffix.
        """
        write_items(path, self._record(), ARRAYS)

    def _record(self) -> Record:
        arrays: dict[str, Array] = {"codes": self.codes, "ends": self.ends, "positions": self.positions}
        facts = {
            "format": _CODES_FORMAT,
            "kind": self.kind,
            "dim": str(self.dim),
            "space": self.space,
            "modality": self.modality,
            **towers_to_facts(self.towers),
        }
        return Record(arrays, facts, self.keys)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Export a table with a row for each item: key, position and codes, a list of them.

        Kind, width and identity stand in its metadata, and the codes aren't copied. MissingPackageError
        without pyarrow.
        """
        return items_table_of(self._record(), "codes").__arrow_c_stream__(requested_schema)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> MultiQuantised:
        """Read a file that `save` wrote; InputError for other content, ValueError for another suffix."""
        record = read(path, _CODES_FORMAT, ARRAYS)
        with readable(path):
            kind = _require_kind(record.fact("kind"))
            counts, positions, keys = items_of(record)
            return MultiQuantised(
                kind=kind,
                codes=record.array("codes", np.float16 if kind == "float16" else np.uint8),
                counts=counts,
                dim=read_width(record.fact("dim")),
                space=record.fact("space"),
                modality=record.fact("modality"),
                positions=positions,
                keys=keys,
                towers=record.towers(),
            )


def _require_kind(kind: str) -> MultiCodeKind:
    if kind not in ("float16", "binary"):
        raise ValueError(f"there is no kind {kind!r} of codes of many vectors: make it 'float16' or 'binary'")
    return cast(MultiCodeKind, kind)


def _require_protected(protected: int) -> int:
    return protected if protected == 0 else require_positive(protected, "protected")
