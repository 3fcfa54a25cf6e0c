"""The result: vectors that know which space they belong to."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments.counts import require_positive
from ..arguments.lists import in_order
from ..card import require_same_space
from ..errors import InputError
from .files import Record, errors_from_text, errors_to_text, read, readable, write
from .topk import Nearest, cosines, require_unit
from .topk import Positions as Positions
from .topk import Vectors as Vectors

if TYPE_CHECKING:
    from torch import Tensor

    from .quantised import Kind, Quantised, Ranges

_FORMAT = "mmencode-embeddings-1"


class Embeddings:
    """Unit vectors `[n, dim]`, float32 and contiguous, with the identity of their space.

    `space` is the id of the space's card. `positions[i]` is the place of row i in the batch it came from,
    and `errors` holds the items that were skipped, each with `index`, `source` and reason. `keys`, where they
    are given, name the item of each row: paths, say. `np.asarray` and `torch.as_tensor` give the vectors
    without a copy; indexing by an int, slice, mask or array gives Embeddings again.
    """

    __slots__ = ("_found_unit", "errors", "keys", "modality", "positions", "space", "vectors")

    def __init__(
        self,
        vectors: Vectors,
        *,
        space: str,
        modality: str,
        positions: Positions | None = None,
        errors: Sequence[InputError] = (),
        keys: Sequence[str | os.PathLike[str]] | None = None,
    ) -> None:
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if self.vectors.ndim != 2:
            raise ValueError(f"vectors have the shape {self.vectors.shape}: make it [n, dim]")
        self.positions = np.arange(len(vectors)) if positions is None else np.asarray(positions, np.int64)
        if self.positions.shape != (len(self.vectors),):
            raise ValueError(f"{len(self.vectors)} vectors have positions of shape {self.positions.shape}")
        self.keys = None if keys is None else tuple(os.fsdecode(key) for key in in_order(keys, "keys"))
        if self.keys is not None and len(self.keys) != len(self.vectors):
            raise ValueError(f"{len(self.vectors)} vectors have {len(self.keys)} keys: give as many, or none")
        self.space = space
        self.modality = modality
        self.errors = tuple(errors)
        self._found_unit = False

    @property
    def dim(self) -> int:
        """The width of the vectors."""
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.vectors)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if dtype is not None and np.dtype(dtype) != self.vectors.dtype:
            if copy is False:
                raise ValueError(f"a view of float32 vectors as {dtype} needs a copy")
            return self.vectors.astype(dtype)
        return self.vectors.copy() if copy else self.vectors

    def __dlpack__(self, **options: Any) -> Any:
        """The vectors for other libraries: `torch.as_tensor` takes them so, in the same memory."""
        writeable = self.vectors if self.vectors.flags.writeable else self.vectors.copy()
        return writeable.__dlpack__(**options)  # which no library takes of memory that it mustn't write to

    def __dlpack_device__(self) -> tuple[int, int]:
        device: tuple[int, int] = self.vectors.__dlpack_device__()
        return device

    def __getitems__(self, rows: Sequence[int]) -> list[Tensor]:
        """The vectors of several rows, as torch's DataLoader asks a data set for a batch."""
        return list(self.torch()[list(rows)])

    def __getitem__(self, rows: int | slice | Sequence[int] | np.ndarray[Any, Any]) -> Embeddings:
        if isinstance(rows, (int, np.integer)):
            if not -len(self) <= rows < len(self):
                raise IndexError(f"row {rows} of {len(self)}")
            rows = [int(rows)]
        return Embeddings(
            self.vectors[rows],
            space=self.space,
            modality=self.modality,
            positions=self.positions[rows],
            errors=self.errors,
            keys=None if self.keys is None else _picked(self.keys, rows),
        )

    def __repr__(self) -> str:
        skipped = f", {len(self.errors)} skipped" if self.errors else ""
        return f"<Embeddings {len(self)} x {self.dim}, {self.modality}, {self.space}{skipped}>"

    def named(self, names: Sequence[str | os.PathLike[str]]) -> Embeddings:
        """The same with keys: `names` are those of the batch's items, of which each row takes its own.

        Raises ValueError when a row's item isn't among them, TypeError for a table and for what has no order.
        """
        names = in_order(names, "names")
        if len(self) and not 0 <= self.positions.min() <= self.positions.max() < len(names):
            raise ValueError(
                f"rows come from items up to {self.positions.max()}, and {len(names)} have names: "
                "give one for each item of the batch"
            )
        return Embeddings(
            self.vectors,
            space=self.space,
            modality=self.modality,
            positions=self.positions,
            errors=self.errors,
            keys=[names[place] for place in self.positions.tolist()],
        )

    @staticmethod
    def concatenate(parts: Sequence[Embeddings]) -> Embeddings:
        """All rows of the parts in turn, refused across spaces; positions and errors stay those of the parts.

        The modality is "mixed" unless all parts have the same one. There are keys where all parts have them.
        """
        if not parts:
            raise ValueError("there is nothing to concatenate")
        for part in parts[1:]:
            require_same_space(parts[0].space, part.space, "concatenated")
        modalities = {part.modality for part in parts}
        return Embeddings(
            np.concatenate([part.vectors for part in parts]),
            space=parts[0].space,
            modality=modalities.pop() if len(modalities) == 1 else "mixed",
            positions=np.concatenate([part.positions for part in parts]),
            errors=[error for part in parts for error in part.errors],
            keys=_joined([part.keys for part in parts]),
        )

    def require_unit(self) -> None:
        """ValueError, which names the first one, for vectors that aren't finite or not of length 1.

        It looks only once: what was found to be sound isn't looked at again.
        """
        if not self._found_unit:
            require_unit(self.vectors)
            self._found_unit = True

    def torch(self) -> Tensor:
        """The vectors as a float32 tensor on the CPU, in the same memory: a change of one changes both."""
        import torch

        return torch.from_numpy(self.vectors)

    def truncate(self, dim: int) -> Embeddings:
        """The first `dim` numbers of each vector, brought to unit length again, in a space of their own.

        For spaces that were trained so that these suffice (Kusupati et al., "Matryoshka Representation
        Learning", NeurIPS 2022). The new id is the old one with `:first<dim>` at its end: vectors of one
        space that were cut to one width are comparable, in one cut or in several, and with nothing else. All
        numbers are no truncation: that gives these Embeddings themselves.

        ValueError unless 1 <= dim <= the width, and for vectors whose first `dim` numbers are all zero.
        """
        dim = require_positive(dim, "dim", self.dim)
        if dim == self.dim:
            return self
        return Embeddings(
            unit_rows(self.vectors[:, :dim], f"the first {dim} numbers"),
            space=_truncated_id(self.space, dim),
            modality=self.modality,
            positions=self.positions,
            errors=self.errors,
            keys=self.keys,
        )

    def quantize(self, kind: Kind, ranges: Ranges | None = None) -> Quantised:
        """Codes of one byte for each number, "int8", or of one bit, its sign, "binary".

        The bytes divide the range of each number into 255 equal steps (affine quantisation: Jacob et al.,
        "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR
        2018). By default the ranges are those of these vectors, widened as `Ranges.of` says. Codes of two
        calls are comparable when the second is given the `.ranges` of the first; values outside are clipped.

        ValueError for another kind, ranges for "binary", and vectors that aren't finite; SpaceMismatchError
        for the ranges of another space.
        """
        from .quantised import quantised

        return quantised(self, kind, ranges)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write vectors, positions, keys and identity, in the format that the suffix says.

        `.safetensors` and `.npz`, or `.parquet`, `.arrow` and `.feather`, with one row for each item and the
        identity in the schema's metadata. Keys that aren't UTF-8, which tables can't hold, are escaped there
        and read as they were. Written beside the target and renamed, so that no half file is ever left under
        its name. ValueError for another suffix; MissingPackageError for tables without pyarrow.
        """
        facts = {
            "format": _FORMAT,
            "space": self.space,
            "modality": self.modality,
            "errors": errors_to_text(self.errors),
        }
        write(path, Record({"vectors": self.vectors, "positions": self.positions}, facts, self.keys))

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Embeddings:
        """Read what `save` wrote.

        InputError for anything else, vectors that aren't finite and positions below 0 among it, and for a
        file that would take many times its own size of memory; ValueError for another suffix;
        MissingPackageError for tables without pyarrow.
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
            )


def unit_rows(vectors: Vectors, what: str) -> Vectors:
    """Vectors `[n, dim]` divided by their lengths, which are computed in float64.

    ValueError for a row of zeros, which has no direction; `what` says in the message what is zero.
    """
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    zeros = np.flatnonzero(lengths == 0)
    if len(zeros):
        raise ValueError(
            f"{what} of row {zeros[0]} are all zero and have no direction ({len(zeros)} such rows of "
            f"{len(vectors)}): leave these rows out"
        )
    scaled = np.empty(vectors.shape, np.float32)
    np.divide(vectors, lengths[:, None], out=scaled, casting="same_kind")
    return scaled


def _truncated_id(space: str, dim: int) -> str:
    """The id of the first `dim` numbers of a space; what is cut twice has the id of what is cut once."""
    return f"{re.sub(':first[0-9]+$', '', space)}:first{dim}"


def _picked(keys: tuple[str, ...], rows: slice | Sequence[int] | np.ndarray[Any, Any]) -> tuple[str, ...]:
    """The keys at rows given as numpy takes them: a slice, a mask or places."""
    if isinstance(rows, slice):
        return keys[rows]
    places = np.asarray(rows)
    places = np.flatnonzero(places) if places.dtype == bool else places
    return tuple(keys[place] for place in places.ravel().tolist())


def _joined(parts: Sequence[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """The keys of all parts in turn, or None where one has none."""
    known = [keys for keys in parts if keys is not None]
    return tuple(key for keys in known for key in keys) if len(known) == len(parts) else None


def _comparable(a: object, b: object, names: tuple[str, str], doing: str) -> tuple[Embeddings, Embeddings]:
    """Both as they are: Embeddings of one space and width, whose vectors are unit vectors."""
    first, second = _embeddings(a, names[0]), _embeddings(b, names[1])
    require_same_space(first.space, second.space, doing)
    if first.dim != second.dim:
        raise ValueError(
            f"{names[0]} and {names[1]} have vectors of {first.dim} and of {second.dim} numbers, under one "
            f"space's id, {first.space}: encode both sides again"
        )
    first.require_unit()
    second.require_unit()
    return first, second


def _embeddings(value: object, name: str) -> Embeddings:
    if isinstance(value, Embeddings):
        return value
    raise TypeError(
        f"{name} is {type(value).__name__}, which doesn't say what space it belongs to: "
        "pass the Embeddings that encode() gives"
    )


def similarity(a: Embeddings, b: Embeddings) -> Vectors:
    """Cosine similarity of every row of `a` with every row of `b`, `[len(a), len(b)]`, from -1 to 1.

    A score depends on its two vectors alone. Raises SpaceMismatchError when they belong to two spaces,
    ValueError for vectors that aren't finite or not of unit length.
    """
    first, second = _comparable(a, b, ("a", "b"), "compared")
    return cosines(first.vectors, second.vectors)


@dataclass(frozen=True, eq=False, slots=True)
class Matches:
    """The best rows of a corpus for each query, best first.

    `rows` and `scores` are `[queries, k]`; `positions` are the rows' places in the batch that the corpus was
    encoded from, which differ from the rows where items were skipped.
    """

    rows: Positions
    scores: Vectors
    positions: Positions

    def __len__(self) -> int:
        return len(self.rows)


def search(queries: Embeddings, corpus: Embeddings, k: int = 10) -> Matches:
    """The `k` most similar rows of the corpus for each query, by exact cosine similarity.

    `k` is cut to the size of the corpus. Equal scores keep the corpus's order, and neither `k` nor other
    queries change what comes first. Raises SpaceMismatchError when they belong to two spaces, ValueError for
    a `k` that isn't positive and for vectors that aren't finite or not of unit length.
    """
    first, second = _comparable(queries, corpus, ("queries", "corpus"), "searched together")
    nearest = Nearest(first.vectors, min(require_positive(k), len(second)))
    nearest.add(second.vectors)
    return Matches(nearest.places, nearest.scores, second.positions[nearest.places])
