"""Vectors become codes, whose numbers are rounded to one byte or one bit each, and come back.

Bytes divide the range of each number into 255 equal steps (affine quantization: Jacob et al., "Quantization
and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018); bits are signs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import numpy as np

from ..arguments.brief import Brief
from ..arguments.counts import require_positive
from ..card import is_same_space, require_same_space
from .array_types import Array, Vectors

CodeKind = Literal["int8", "binary"]
Counts = np.ndarray[Any, np.dtype[np.int32]]

BLOCK = 2**24  # bytes of differing bits held at once
_LEVELS = 255  # steps between the 256 codes of a byte
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)


class Sample(Protocol):
    """Vectors `[n, dim]` and the id of their space: `Embeddings` are a sample."""

    @property
    def vectors(self) -> Vectors:
        """The vectors `[n, dim]`."""

    @property
    def space(self) -> str:
        """The id of their space."""


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Ranges(Brief):
    """The lowest and the highest value that int8 codes tell apart, for each number of a vector.

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
    def of(cls, sample: Sample) -> Ranges:
        """Measure the range of each number over a sample, and widen it for vectors outside the sample.

        On each side by a quarter of it, and at least by 2/sqrt(dim), twice the standard deviation of a number
        in a random unit vector: clipping costs more precision than wide ranges do. Hundreds of rows make a
        good sample. One without rows gives -1 to 1, which holds all unit vectors, if coarsely.
        """
        dim = sample.vectors.shape[1]
        if not len(sample.vectors):
            return cls(np.full(dim, -1, np.float32), np.ones(dim, np.float32), sample.space)
        low, high = sample.vectors.min(axis=0), sample.vectors.max(axis=0)
        margin = np.maximum((high - low) / 4, 2 / np.sqrt(dim))
        return cls(low - margin, high + margin, sample.space)

    @property
    def step(self) -> Vectors:
        """The difference between neighbouring codes, `[dim]`: values inside err by half of it at most."""
        steps: Vectors = (self.high - self.low) / np.float32(_LEVELS)
        return steps


def encode_numbers(sample: Sample, kind: str, ranges: Ranges | None) -> tuple[CodeKind, Array, Ranges | None]:
    """Quantize the vectors of a sample; gives the kind, the codes, and the ranges of "int8" codes.

    ValueError for another kind, ranges for "binary", ranges of another width, and vectors that aren't finite;
    SpaceMismatchError for the ranges of another space.
    """
    known, vectors = require_code_kind(kind), sample.vectors
    if not np.isfinite(vectors).all():
        raise ValueError("some vectors aren't finite, and no code stands for that")
    if known == "binary":
        if ranges is not None:
            raise ValueError("binary codes have no ranges: leave them out, or use int8")
        return known, np.packbits(vectors > 0, axis=1), None
    ranges = Ranges.of(sample) if ranges is None else ranges
    require_fitting(ranges, sample.space, vectors.shape[1])
    levels = np.rint((vectors - ranges.low) / ranges.step)
    return known, (np.clip(levels, 0, _LEVELS) - 128).astype(np.int8), ranges


def decode_numbers(codes: Array, dim: int, ranges: Ranges | None) -> Vectors:
    """The values that codes stand for, float32 `[n, dim]`, not normalised; without ranges, 1 and -1."""
    if ranges is None:
        return np.unpackbits(codes, axis=1, count=dim).astype(np.float32) * 2 - 1
    values: Vectors = ranges.low + (codes + np.float32(128)) * ranges.step
    return values


def require_code_kind(kind: str) -> CodeKind:
    """Raise ValueError for a kind of codes that there isn't."""
    if kind not in ("int8", "binary"):
        raise ValueError(f"there is no kind {kind!r} of codes: make it 'int8' or 'binary'")
    return cast(CodeKind, kind)


def require_codes(codes: Array, kind: CodeKind, dim: int) -> None:
    """Raise ValueError unless codes have the shape and type that vectors of `dim` numbers have as a kind."""
    width, dtype = (dim, np.int8) if kind == "int8" else (-(-dim // 8), np.uint8)
    if codes.ndim != 2 or codes.shape[1] != width or codes.dtype != dtype:
        raise ValueError(
            f"codes are {codes.dtype} {list(codes.shape)}: "
            f"{kind} ones of {dim} numbers are {np.dtype(dtype)} [n, {width}]"
        )


def require_fitting(ranges: Ranges, space: str, dim: int) -> None:
    """Raise SpaceMismatchError for ranges of another space, ValueError for those of another width."""
    require_same_space(ranges.space, space, "quantized with one's ranges")
    if len(ranges.low) != dim:
        raise ValueError(f"the ranges are those of {len(ranges.low)} numbers, and the vectors have {dim}")


def read_width(said: str) -> int:
    """Read the width of vectors from the text of a file; ValueError for a text that is no width."""
    if not (said.isascii() and said.isdigit() and 0 < len(said) < 10):
        raise ValueError(f"its dim is {said!r:.100}, which is no width")
    return require_positive(int(said), "dim")


def count_differing_bits(a: Array, b: Array) -> Counts:
    """The Hamming distance of every row of `a` to every row of `b`, in bits, `[len(a), len(b)]`."""
    counts = np.empty((len(a), len(b)), np.int32)
    step = max(1, BLOCK // max(1, b.size))
    for start in range(0, len(a), step):
        different = a[start : start + step, None] ^ b  # [step, len(b), bytes]
        counts[start : start + step] = _count_ones(different).sum(axis=2, dtype=np.int32)
    return counts


def _count_ones(values: Array) -> Array:
    """The number of bits that are set in each byte, by a table where numpy (before 2.0) can't count them."""
    count = getattr(np, "bitwise_count", None)
    ones: Array = _ONES[values] if count is None else count(values)
    return ones
