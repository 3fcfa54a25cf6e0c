"""Vectors as the numbers that a protocol asks for: float32, bytes, bits, or base64 of any of these."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from ..embeddings.array_types import Array, Vectors
from ..embeddings.codes import Ranges, encode_numbers
from ..embeddings.embeddings import Embeddings

NumberKind = Literal["float", "int8", "uint8", "binary", "ubinary"]
KINDS: tuple[NumberKind, ...] = get_args(NumberKind)

_OFFSET = 128  # from signed to unsigned bytes, and from bits packed into signed bytes to unsigned ones


def to_numbers(vectors: Sequence[Vectors], kind: NumberKind) -> Array:
    """Make the numbers of single vectors, `[n, dim]`, or `[n, dim / 8]` where they are bits.

    float    float32, as they are
    int8     those of `Embeddings.quantize("int8", ranges)` with the ranges of no sample, in which a code c
             stands for (2 c + 1) / 255: 255 equal steps from -1 to 1, so that the codes of an item depend on
             nothing else, and products of codes rank as cosines do, within rounding
    uint8    int8 plus 128
    ubinary  those of `Embeddings.quantize("binary")`: signs, eight to a byte, the first in the highest bit
    binary   ubinary less 128, as signed bytes: the "offset binary" of Cohere's and Voyage's documentation
    """
    stacked = np.stack(vectors)
    if kind == "float":
        return stacked
    rows = Embeddings(stacked, space="", modality="mixed")
    if kind in ("int8", "uint8"):
        ranges = Ranges.of(Embeddings(np.empty((0, rows.dim), np.float32), space="", modality="mixed"))
        codes = encode_numbers(rows, "int8", ranges)[1]
        return codes if kind == "int8" else (codes.astype(np.int16) + _OFFSET).astype(np.uint8)
    bits = encode_numbers(rows, "binary", None)[1]
    return bits if kind == "ubinary" else (bits.astype(np.int16) - _OFFSET).astype(np.int8)


def to_base64(numbers: Array) -> list[str]:
    """Write the numbers of each row as base64 of their bytes, little endian."""
    rows = np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<"))
    return [base64.b64encode(row.tobytes()).decode() for row in rows]


def show(vectors: Sequence[Vectors], kind: NumberKind, *, packed: bool = False) -> list[Any]:
    """Show single vectors as lists of numbers, or each as base64 of these where `packed`."""
    numbers = to_numbers(vectors, kind)
    return to_base64(numbers) if packed else numbers.tolist()
