"""Codes: vectors in a quarter or a thirty-second of their bytes, with what makes codes comparable."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from ..arguments.counts import require_positive
from ..card import is_same_space, require_same_space
from ..errors import SpaceMismatchError
from .embeddings import Embeddings, Positions, Vectors, similarity, unit_rows
from .files import ARRAYS, Array, Record, read, readable, write

Kind = Literal["int8", "binary"]
Counts = np.ndarray[Any, np.dtype[np.int32]]

_FORMAT = "mmencode-codes-1"
_BLOCK = 2**24  # bytes of differing bits held at once
_LEVELS = 255  # steps between the 256 codes of a byte
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)


@dataclass(frozen=True, eq=False, slots=True)
class Ranges:
    """For each number of a vector, the lowest and the highest value that int8 codes tell apart.

    `low` and `high` are float32 `[dim]` and read-only; `space` is the id of the space that they belong to.
    ValueError unless they are finite and each `low` is below its `high`.
    """

    low: Vectors
    high: Vectors
    space: str

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            copied = np.array(getattr(self, name), np.float32)
            copied.setflags(write=False)
            object.__setattr__(self, name, copied)
        if self.low.ndim != 1 or self.low.shape != self.high.shape:
            raise ValueError(f"ranges have shapes {self.low.shape} and {self.high.shape}: make both [dim]")
        if not (np.isfinite(self.low) & np.isfinite(self.high) & (self.low < self.high)).all():
            raise ValueError("some ranges are empty or infinite: make each low finite and below its high")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ranges):
            return NotImplemented
        same_space = is_same_space(self.space, other.space)
        return same_space and np.array_equal(self.low, other.low) and np.array_equal(self.high, other.high)

    @classmethod
    def of(cls, sample: Embeddings) -> Ranges:
        """The range of each number over a sample, widened on both sides for vectors that aren't in it.

        On each side by a quarter of it, and at least by 2/sqrt(dim), twice the standard deviation of a number
        in a random unit vector: what is clipped errs by more than wide ranges cost. Hundreds of rows make a
        good sample. One without rows gives -1 to 1, which holds all unit vectors, if coarsely.
        """
        if not len(sample):
            return cls(np.full(sample.dim, -1, np.float32), np.ones(sample.dim, np.float32), sample.space)
        low, high = sample.vectors.min(axis=0), sample.vectors.max(axis=0)
        margin = np.maximum((high - low) / 4, 2 / np.sqrt(sample.dim))
        return cls(low - margin, high + margin, sample.space)

    @property
    def step(self) -> Vectors:
        """The difference between neighbouring codes, `[dim]`: values inside err by half of it at most."""
        steps: Vectors = (self.high - self.low) / np.float32(_LEVELS)
        return steps


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Quantised:
    """Codes of embeddings, with the identity of their space.

    kind       "int8", one byte for each number, or "binary", one bit for its sign
    codes      int8 `[n, dim]`, or the packed bits, uint8 `[n, ceil(dim / 8)]`
    dim        the width of the vectors that they stand for
    positions  and `modality`, `keys`: those of the embeddings; what was skipped is not kept
    ranges     what the codes of "int8" mean; None for "binary"

    ValueError when these don't fit together.
    """

    kind: Kind
    codes: Array
    dim: int
    space: str
    modality: str
    positions: Positions
    keys: tuple[str, ...] | None = None
    ranges: Ranges | None = None

    def __post_init__(self) -> None:
        _known(self.kind)
        width, dtype = (self.dim, np.int8) if self.kind == "int8" else (-(-self.dim // 8), np.uint8)
        if self.codes.ndim != 2 or self.codes.shape[1] != width or self.codes.dtype != dtype:
            raise ValueError(
                f"codes are {self.codes.dtype} {list(self.codes.shape)}: "
                f"{self.kind} ones of {self.dim} numbers are {np.dtype(dtype)} [n, {width}]"
            )
        if self.positions.shape != (len(self),):
            raise ValueError(f"{len(self)} codes have positions of shape {self.positions.shape}")
        if self.keys is not None and len(self.keys) != len(self):
            raise ValueError(f"{len(self)} codes have {len(self.keys)} keys: give as many, or none")
        if (self.ranges is None) is (self.kind == "int8"):
            raise ValueError("codes of int8 have ranges, and binary ones have none")
        if self.ranges is not None:
            _require_fitting(self.ranges, self.space, self.dim)

    def __len__(self) -> int:
        return len(self.codes)

    def __repr__(self) -> str:
        return f"<Quantised {len(self)} x {self.dim}, {self.kind}, {self.modality}, {self.space}>"

    def dequantise(self) -> Embeddings:
        """Embeddings near those that were quantised: unit vectors, under the same space's id.

        The id stays, so that they can be compared with exact vectors of the space; what they err by is that
        of the codes, up to `ranges.step / 2` for each number before it is normalised. Those of "binary" have
        nothing but signs, and are good for a first choice only. ValueError for a row that stands for zero.
        """
        return Embeddings(
            unit_rows(self._values(), "the values"),
            space=self.space,
            modality=self.modality,
            positions=self.positions,
            keys=self.keys,
        )

    def similarity(self, other: Quantised) -> Vectors:
        """How alike every row is to every row of `other`, float32 `[len(self), len(other)]`, up to 1.

        For "int8" the cosine of the values that the codes stand for. For "binary" 1 - 2 * hamming / dim:
        hamming counts the signs that differ, and for vectors of random direction this is about
        1 - 2 * angle / pi (Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002).
        It ranks nearly as the cosine does, and is none.

        Raises SpaceMismatchError for codes of two spaces or of different ranges, ValueError for two kinds.
        """
        self._require_comparable(other)
        if self.kind == "int8":
            return similarity(self.dequantise(), other.dequantise())
        return (1 - _hamming(self.codes, other.codes) * (2 / self.dim)).astype(np.float32)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of it as `.safetensors` or `.npz`, whole or not at all; ValueError for another suffix."""
        arrays: dict[str, Array] = {"codes": self.codes, "positions": self.positions}
        if self.ranges is not None:
            arrays |= {"low": self.ranges.low, "high": self.ranges.high}
        facts = {
            "format": _FORMAT,
            "kind": self.kind,
            "dim": str(self.dim),
            "space": self.space,
            "modality": self.modality,
        }
        write(path, Record(arrays, facts, self.keys), ARRAYS)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Quantised:
        """Read what `save` wrote; InputError for anything else, ValueError for another suffix."""
        record = read(path, _FORMAT, ARRAYS)
        with readable(path):
            kind, space = _known(record.fact("kind")), record.fact("space")
            ranges = None
            if kind == "int8":
                ranges = Ranges(record.array("low", np.float32), record.array("high", np.float32), space)
            return Quantised(
                kind=kind,
                codes=record.array("codes", np.int8 if kind == "int8" else np.uint8),
                dim=_width(record.fact("dim")),
                space=space,
                modality=record.fact("modality"),
                positions=record.positions(),
                keys=record.keys,
                ranges=ranges,
            )

    def _values(self) -> Vectors:
        """What the codes stand for, float32 `[n, dim]`, before it is normalised."""
        if self.ranges is not None:
            values: Vectors = self.ranges.low + (self.codes + np.float32(128)) * self.ranges.step
        else:
            values = np.unpackbits(self.codes, axis=1, count=self.dim).astype(np.float32) * 2 - 1
        return values

    def _require_comparable(self, other: Quantised) -> None:
        if not isinstance(other, Quantised):
            raise TypeError(f"other is {type(other).__name__}: quantise it in the same way first")
        require_same_space(self.space, other.space, "compared")
        if self.kind != other.kind:
            raise ValueError(f"codes of {self.kind} and of {other.kind} have nothing in common: use one kind")
        if self.ranges != other.ranges:
            raise SpaceMismatchError(
                "codes of different ranges can't be compared: equal codes stand for different values",
                remedy='quantise both with the ranges of one of them, other.quantize("int8", '
                "ranges=first.ranges), or compare what dequantise() gives",
            )


def quantised(embeddings: Embeddings, kind: Kind, ranges: Ranges | None = None) -> Quantised:
    """Codes of embeddings; see `Embeddings.quantize`."""
    _known(kind)
    if not np.isfinite(embeddings.vectors).all():
        raise ValueError("some vectors aren't finite, and no code stands for that")
    if kind == "binary":
        if ranges is not None:
            raise ValueError("binary codes have no ranges: leave them out, or use int8")
        codes: Array = np.packbits(embeddings.vectors > 0, axis=1)
    else:
        ranges = Ranges.of(embeddings) if ranges is None else ranges
        _require_fitting(ranges, embeddings.space, embeddings.dim)
        levels = np.rint((embeddings.vectors - ranges.low) / ranges.step)
        codes = (np.clip(levels, 0, _LEVELS) - 128).astype(np.int8)
    return Quantised(
        kind=kind,
        codes=codes,
        dim=embeddings.dim,
        space=embeddings.space,
        modality=embeddings.modality,
        positions=embeddings.positions,
        keys=embeddings.keys,
        ranges=ranges,
    )


def _known(kind: str) -> Kind:
    if kind not in ("int8", "binary"):
        raise ValueError(f"there is no kind {kind!r} of codes: make it 'int8' or 'binary'")
    return cast(Kind, kind)


def _width(said: str) -> int:
    """The width that a file says; ValueError for one that no vectors have."""
    if not (said.isascii() and said.isdigit() and 0 < len(said) < 10):
        raise ValueError(f"its dim is {said!r:.100}, which is no width")
    return require_positive(int(said), "dim")


def _require_fitting(ranges: Ranges, space: str, dim: int) -> None:
    require_same_space(ranges.space, space, "quantised with one's ranges")
    if len(ranges.low) != dim:
        raise ValueError(f"the ranges are those of {len(ranges.low)} numbers, and the vectors have {dim}")


def _hamming(a: Array, b: Array) -> Counts:
    """How many bits differ between every row of `a` and every row of `b`, `[len(a), len(b)]`."""
    counts = np.empty((len(a), len(b)), np.int32)
    step = max(1, _BLOCK // max(1, b.size))
    for start in range(0, len(a), step):
        different = a[start : start + step, None] ^ b  # [step, len(b), bytes]
        counts[start : start + step] = _ones(different).sum(axis=2, dtype=np.int32)
    return counts


def _ones(values: Array) -> Array:
    """The set bits of each byte; numpy before 2.0 has nothing that counts them."""
    count = getattr(np, "bitwise_count", None)
    found: Array = _ONES[values] if count is None else count(values)
    return found
