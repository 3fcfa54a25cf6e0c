"""Embeddings are unit vectors that know which space they belong to; Quantised holds their codes.

Embeddings and Quantised turn into each other, so both classes stand in this module. The arithmetic of codes
is in `codes`, formats of files in `files`, search in `search`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ..arguments.counts import require_positive
from ..arguments.lists import to_list
from ..card import require_same_space
from ..errors import InputError, SpaceMismatchError
from .array_types import Array, Flags, Positions, Vectors
from .blanks import Fill, align_rows, find_blank, number_of_fill, require_none_blank
from .codes import (
    CodeKind,
    Ranges,
    count_differing_bits,
    decode_numbers,
    encode_numbers,
    read_width,
    require_code_kind,
    require_codes,
    require_fitting,
)
from .files import (
    ARRAYS,
    Record,
    errors_from_text,
    errors_to_text,
    read,
    readable,
    table_of,
    towers_to_facts,
    widths_to_facts,
    write,
)
from .from_tables import Identified, Names, read_table
from .interchange import Interchange, Unchanging, as_read_only, row_index
from .rows import join_origins, join_towers, join_widths, pick_keys, require_one_each, require_width
from .topk import cosines
from .unit import require_unit, unit_rows

_FORMAT = "mmencode-embeddings-1"
_CODES_FORMAT = "mmencode-codes-1"
_UNIT = "unit"  # the check that vectors passed
_ORIGINS = ("space", "modality", "positions", "errors", "keys", "towers", "widths")


class Embeddings(Interchange, Unchanging):
    """Unit vectors `[n, dim]`, float32 and contiguous, with the identity of their space.

    `space` is the id of the space's card. `positions[i]` is the place of row i in the batch it came from,
    and `errors` holds the items that were skipped, each with `index`, `source` and reason. `keys`, where they
    are given, name the item of each row: paths, say. `towers` has the digest of the encoder that made the
    rows of each modality, as far as it is known: one space may get another for a modality that joined it, and
    rows of the two aren't put together. `widths` are those to which the rows may be cut.

    They are an array `[n, dim]` to other libraries: `np.asarray`, `torch.as_tensor` and Arrow take the
    vectors without a copy, and iteration gives them one by one. Indexing by an int, slice, mask or array
    gives Embeddings again. Nothing of them is changed afterwards: `vectors` and `positions` are read-only
    views.
    """

    __slots__ = (
        "_checked",
        "_memory",
        "errors",
        "keys",
        "modality",
        "positions",
        "space",
        "towers",
        "vectors",
        "widths",
    )

    def __init__(
        self,
        vectors: Vectors,
        *,
        space: str,
        modality: str,
        positions: Positions | None = None,
        errors: Sequence[InputError] = (),
        keys: Sequence[str | os.PathLike[str]] | None = None,
        towers: Mapping[str, str] | None = None,
        widths: Sequence[int] = (),
    ) -> None:
        self._memory: Final[Vectors] = np.ascontiguousarray(vectors, dtype=np.float32)
        if self._memory.ndim != 2:
            raise ValueError(f"vectors have the shape {self._memory.shape}: make it [n, dim]")
        self.vectors: Final[Vectors] = as_read_only(self._memory)
        places = np.arange(len(self.vectors)) if positions is None else np.asarray(positions, np.int64)
        self.positions: Final[Positions] = as_read_only(places)
        self.keys: Final = None if keys is None else tuple(os.fsdecode(key) for key in to_list(keys, "keys"))
        require_one_each(len(self.vectors), "vectors", self.positions, self.keys)
        self.space: Final = space
        self.modality: Final = modality
        self.errors: Final = tuple(errors)
        self.towers: Final = dict(towers or {})
        self.widths: Final = tuple(width for width in widths if width < self.dim)
        self._checked: Final[set[str]] = set()

    @property
    def dim(self) -> int:
        """The width of the vectors."""
        return int(self.vectors.shape[1])

    @property
    def _shared(self) -> Vectors:
        return self._memory

    def __len__(self) -> int:
        return len(self.vectors)

    def __iter__(self) -> Iterator[Vectors]:
        return iter(self.vectors)

    def __getitem__(self, rows: int | slice | Sequence[int] | Array) -> Embeddings:
        rows = row_index(rows, "Embeddings")
        if isinstance(rows, (int, np.integer)):
            if not -len(self) <= rows < len(self):
                raise IndexError(f"row {rows} of {len(self)}")
            rows = [int(rows)]
        return self._with(
            vectors=self._memory[rows], positions=self.positions[rows], keys=pick_keys(self.keys, rows)
        )

    def __repr__(self) -> str:
        skipped = f", {len(self.errors)} skipped" if self.errors else ""
        return f"<Embeddings {len(self)} x {self.dim}, {self.modality}, {self.space}{skipped}>"

    def _with(self, **changes: Any) -> Embeddings:
        """Make other Embeddings of these, with the changes that arguments of the constructor say."""
        return Embeddings(**{**self.__getstate__(), **changes})

    def __getstate__(self) -> dict[str, Any]:
        return {"vectors": self._memory, **{name: getattr(self, name) for name in _ORIGINS}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Embeddings.__init__(self, **state)

    def with_keys(self, keys: Sequence[str | os.PathLike[str]]) -> Embeddings:
        """Give each row the key of its item; `keys` has one for each item of the batch, in order.

        Skipped items have keys, too. Raises ValueError when a row's item has no key, TypeError for a table
        and for a collection without an order.
        """
        keys = to_list(keys, "keys")
        if len(self) and not 0 <= self.positions.min() <= self.positions.max() < len(keys):
            raise ValueError(
                f"rows come from items up to {self.positions.max()}, and there are {len(keys)} keys: "
                "give one for each item of the batch"
            )
        return self._with(keys=[keys[place] for place in self.positions.tolist()])

    def named(self, names: Sequence[str | os.PathLike[str]]) -> Embeddings:
        """Deprecated name of `with_keys`, kept for one release."""
        return self.with_keys(names)

    @staticmethod
    def from_table(
        table: Any,
        *,
        space: str | Identified | None = None,
        modality: str = "",
        vectors: str = "vector",
        keys: str = "key",
        positions: str = "position",
    ) -> Embeddings:
        """Take vectors out of a table in memory: of pandas, polars, pyarrow, DuckDB or another of Arrow's.

        `space` is the space that made them, or its id; where the metadata of the table still says it, as that
        of `polars.DataFrame(embeddings)` doesn't and that of `pyarrow.table(embeddings)` does, it is compared
        with that. The others are names of columns; a table needn't have those of keys and positions.

        Raises ValueError where nobody says the space or the modality, SpaceMismatchError for another space or
        width, InputError, with the column and the row, for missing vectors, several widths, and those that
        aren't finite or of unit length, MissingPackageError without pyarrow.
        """
        found = read_table(table, _FORMAT, space, modality, Names(vectors, keys, positions))
        return Embeddings(found.vectors, **found.origin)

    @property
    def blank(self) -> Flags:
        """The rows that stand for items without a vector, marked: all their numbers are NaN, or zero."""
        return find_blank(self.vectors)

    def with_blanks(self, fill: Fill = "nan") -> Embeddings:
        """Give every item of the batch a row, with blank ones of NaN or zeros for items that were skipped.

        So rows and items have the same places, as tables and other libraries want them. `errors` say why a
        row is blank, and `blank` marks them; similarity, search, classifiers and indexes refuse such rows,
        and `embeddings[~embeddings.blank]` leaves them out. Keys go, since skipped items have lost theirs,
        unless nothing was skipped: `with_keys` gives them again.

        ValueError for another fill, and where rows were picked, so that items have neither row nor error.
        """
        number = number_of_fill(fill)
        every, places = align_rows(self.positions, self.errors)
        if len(every) == len(self) and not self.blank.any() and (places[:-1] < places[1:]).all():
            return self
        vectors = np.full((len(every), self.dim), number, np.float32)
        kept = ~self.blank
        vectors[places[kept]] = self.vectors[kept]
        keys = None
        if self.keys is not None and len(every) == len(self):
            keys = [self.keys[row] for row in np.argsort(places).tolist()]
        return self._with(vectors=vectors, positions=every, keys=keys)

    @staticmethod
    def concatenate(parts: Sequence[Embeddings]) -> Embeddings:
        """Put the rows of several Embeddings of one space behind each other; positions and errors stay.

        The modality is "mixed" unless all parts have the same one. There are keys where all parts have them.
        Raises SpaceMismatchError for parts of two spaces, and for rows of one modality that two encoders of a
        space made, ValueError without parts.
        """
        origins = join_origins(parts)
        return Embeddings(
            np.concatenate([part.vectors for part in parts]),
            **origins,
            towers=join_towers([part.towers for part in parts]),
            widths=join_widths([part.widths for part in parts]),
        )

    def require_unit(self) -> None:
        """Raise ValueError, naming the first row, for vectors that aren't finite or not of length 1.

        Vectors that passed are not checked again.
        """
        if _UNIT not in self._checked:
            require_unit(self.vectors)
            self._checked.add(_UNIT)

    def truncate(self, dim: int, *, force: bool = False) -> Embeddings:
        """Cut each vector to its first `dim` numbers, at unit length again, in a space of their own.

        For spaces that were trained so that these suffice (Kusupati et al., "Matryoshka Representation
        Learning", NeurIPS 2022). The new id is the old one with `:first<dim>` at its end: vectors of one
        space that were cut to one width are comparable, in one cut or in several, and with nothing else. The
        full width cuts nothing, and gives these Embeddings themselves.

        `widths` are those that the model declares. A warning is given for another one, and where it declares
        none WidthError is raised; `force` says that you measured what is lost, and cuts.

        ValueError unless 1 <= dim <= the width, and for vectors whose first `dim` numbers are all zero.
        """
        dim = require_positive(dim, "dim", self.dim)
        if dim == self.dim:
            return self
        if not force:
            require_width(dim, self.widths, self.modality, self.space)
        return self._with(
            vectors=unit_rows(self.vectors[:, :dim], f"the first {dim} numbers"),
            space=id_of_truncation(self.space, dim),
        )

    def quantize(self, kind: CodeKind, ranges: Ranges | None = None) -> Quantised:
        """Round each number to a code of one byte, "int8", or to one bit, its sign, "binary".

        The bytes divide the range of each number into 255 equal steps (affine quantization: Jacob et al.,
        "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR
        2018). By default the ranges are those of these vectors, widened as `Ranges.of` says. Codes of two
        calls are comparable when the second is given the `.ranges` of the first; values outside are clipped.

        ValueError for another kind, ranges for "binary", and vectors that aren't finite; SpaceMismatchError
        for the ranges of another space.
        """
        require_none_blank(self.blank, "quantized")
        known, codes, ranges = encode_numbers(self, kind, ranges)
        return Quantised(
            kind=known,
            codes=codes,
            dim=self.dim,
            space=self.space,
            modality=self.modality,
            positions=self.positions,
            keys=self.keys,
            ranges=ranges,
            towers=self.towers,
            widths=self.widths,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write vectors, positions, keys and identity, in the format that the suffix says.

        `.safetensors` and `.npz` hold arrays; `.parquet`, `.arrow` and `.feather` hold a table with one row
        for each item and the identity in the schema's metadata. Keys that aren't UTF-8, which tables can't
        hold, are escaped there and read as they were. The file is written beside its target and renamed, so
        that it is there whole or not at all. ValueError for another suffix; MissingPackageError for tables
        without pyarrow.
        """
        write(path, self._record())

    def _record(self) -> Record:
        facts = {
            "format": _FORMAT,
            "space": self.space,
            "modality": self.modality,
            "errors": errors_to_text(self.errors),
            **towers_to_facts(self.towers),
            **widths_to_facts(self.widths),
        }
        return Record({"vectors": self.vectors, "positions": self.positions}, facts, self.keys)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Export a table with the columns key, position and vector, and the identity in its metadata.

        As polars, pyarrow, DuckDB and others ask for it. The vectors aren't copied. MissingPackageError
        without pyarrow.
        """
        return table_of(self._record()).__arrow_c_stream__(requested_schema)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Embeddings:
        """Read a file that `save` wrote; the suffix says its format.

        InputError for a file with other content, vectors that aren't finite or positions below 0, and for one
        that would take many times its own size of memory; ValueError for another suffix; MissingPackageError
        for tables without pyarrow.
        """
        record = read(path, _FORMAT)
        with readable(path):
            return Embeddings(
                record.array("vectors", np.float32),
                space=record.fact("space"),
                modality=record.fact("modality"),
                positions=record.positions(),
                errors=errors_from_text(record.fact("errors")),
                keys=record.keys,
                towers=record.towers(),
                widths=record.widths(),
            )


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Quantised(Interchange):
    """Codes of embeddings, with the identity of their space.

    kind       "int8", one byte for each number, or "binary", one bit for its sign
    codes      int8 `[n, dim]`, or the packed bits, uint8 `[n, ceil(dim / 8)]`
    dim        the width of the vectors that they stand for
    positions  and `modality`, `keys`: those of the embeddings; errors of skipped items are not kept
    ranges     the values that codes of "int8" stand for; None for "binary"
    towers     by modality, the digests of the encoders that made the embeddings
    widths     to which the embeddings may be cut

    To other libraries they are the array of their codes. ValueError when these don't fit together.
    """

    kind: CodeKind
    codes: Array
    dim: int
    space: str
    modality: str
    positions: Positions
    keys: tuple[str, ...] | None = None
    ranges: Ranges | None = None
    towers: Mapping[str, str] = field(default_factory=dict)
    widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require_codes(self.codes, require_code_kind(self.kind), self.dim)
        require_one_each(len(self), "codes", self.positions, self.keys)
        if (self.ranges is None) is (self.kind == "int8"):
            raise ValueError("codes of int8 have ranges, and binary ones have none")
        if self.ranges is not None:
            require_fitting(self.ranges, self.space, self.dim)

    @property
    def _shared(self) -> Array:
        return self.codes

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[Array]:
        return iter(as_read_only(self.codes))

    def __repr__(self) -> str:
        return f"<Quantised {len(self)} x {self.dim}, {self.kind}, {self.modality}, {self.space}>"

    def dequantize(self) -> Embeddings:
        """Turn codes back into Embeddings near the original ones, under the same space's id.

        The id stays, so that they can be compared with exact vectors of the space. Each number of "int8" is
        off by up to `ranges.step / 2` before the vector is normalised. Vectors of "binary" have nothing but
        signs, and are good for a first choice only. ValueError for a row whose codes all stand for zero.
        """
        return Embeddings(
            unit_rows(decode_numbers(self.codes, self.dim, self.ranges), "the values"),
            space=self.space,
            modality=self.modality,
            positions=self.positions,
            keys=self.keys,
            towers=self.towers,
            widths=self.widths,
        )

    def dequantise(self) -> Embeddings:
        """Deprecated spelling of `dequantize`, kept for one release."""
        return self.dequantize()

    def similarity(self, other: Quantised) -> Vectors:
        """Similarity of every row to every row of `other`, float32 `[len(self), len(other)]`, up to 1.

        For "int8" the cosine of the values that the codes stand for. For "binary" 1 - 2 * hamming / dim:
        hamming counts the signs that differ, and for vectors of random direction this is about
        1 - 2 * angle / pi (Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002).
        It is no cosine, and ranks nearly as the cosine does.

        Raises SpaceMismatchError for codes of two spaces or of different ranges, ValueError for two kinds.
        """
        self._require_comparable(other)
        if self.kind == "binary":
            differing = count_differing_bits(self.codes, other.codes)
            return (1 - differing * (2 / self.dim)).astype(np.float32)
        first, second = self.dequantize(), other.dequantize()
        first.require_unit()
        second.require_unit()
        return cosines(first.vectors, second.vectors)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write codes and identity as `.safetensors` or `.npz`, whole or not at all.

        ValueError for another suffix.
        """
        write(path, self._record(), ARRAYS)

    def _record(self) -> Record:
        arrays: dict[str, Array] = {"codes": self.codes, "positions": self.positions}
        if self.ranges is not None:
            arrays |= {"low": self.ranges.low, "high": self.ranges.high}
        facts = {
            "format": _CODES_FORMAT,
            "kind": self.kind,
            "dim": str(self.dim),
            "space": self.space,
            "modality": self.modality,
            **towers_to_facts(self.towers),
            **widths_to_facts(self.widths),
        }
        return Record(arrays, facts, self.keys)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Export a table with the columns key, position and code, and kind and identity in its metadata.

        Ranges stand there as "low" and "high", numbers in JSON. The codes aren't copied. MissingPackageError
        without pyarrow.
        """
        return table_of(self._record(), "codes").__arrow_c_stream__(requested_schema)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Quantised:
        """Read a file that `save` wrote; InputError for other content, ValueError for another suffix."""
        record = read(path, _CODES_FORMAT, ARRAYS)
        with readable(path):
            kind, space = require_code_kind(record.fact("kind")), record.fact("space")
            ranges = None
            if kind == "int8":
                ranges = Ranges(record.array("low", np.float32), record.array("high", np.float32), space)
            return Quantised(
                kind=kind,
                codes=record.array("codes", np.int8 if kind == "int8" else np.uint8),
                dim=read_width(record.fact("dim")),
                space=space,
                modality=record.fact("modality"),
                positions=record.positions(),
                keys=record.keys,
                ranges=ranges,
                towers=record.towers(),
                widths=record.widths(),
            )

    def _require_comparable(self, other: Quantised) -> None:
        if not isinstance(other, Quantised):
            raise TypeError(f"other is {type(other).__name__}: quantize it in the same way first")
        require_same_space(self.space, other.space, "compared")
        if self.kind != other.kind:
            raise ValueError(f"codes of {self.kind} and of {other.kind} can't be compared: use one kind")
        if self.ranges != other.ranges:
            raise SpaceMismatchError(
                "codes of different ranges can't be compared: equal codes stand for different values",
                remedy='quantize both with the ranges of one of them, other.quantize("int8", '
                "ranges=first.ranges), or compare the vectors that dequantize() gives",
            )


def id_of_truncation(space: str, dim: int) -> str:
    """The id of a space cut to `dim` numbers; a second cut replaces the first one in it."""
    return f"{re.sub(':first[0-9]+$', '', space)}:first{dim}"
