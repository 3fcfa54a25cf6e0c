"""The products behind MaxSim: the best match of each query vector in each document, a tile at a time.

A tile of products is reduced to maxima while it is in the CPU's cache; on another device, a few tiles that
fill it are. Nothing but the maxima of a stretch of documents is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .array_types import Array, Positions, Vectors
from .interchange import as_tensor_to_read
from .ragged import counts_of, starts_of

if TYPE_CHECKING:
    from torch import Tensor

_TILE = 2**18  # products held at once: 1 MiB of float32, which stays in the cache until it is reduced
_DEVICE_TILE = 2**26  # products held at once on another device: 256 MiB
_STRETCH = 2**21  # numbers of documents that are taken as vectors at once: 8 MiB
_MAXIMA = 2**18  # maxima held at once: 1 MiB of float32
_NARROW = 64  # vectors of queries up to which one call for all documents of a tile is quicker than one each
_HIGHEST = 1.01  # the cosine of two vectors that pass for unit vectors is below this


class Items(Protocol):
    """Items with many unit vectors each: `rows` gives those from one row to another, `[m, dim]`."""

    @property
    def ends(self) -> Positions:
        """The row at which each item ends."""
        ...

    def rows(self, start: int, end: int) -> Vectors:
        """The vectors from one row to another, whichever items they belong to."""
        ...


class QueryBlock:
    """A block of queries, `width` vectors in all, that documents are compared with.

    Products are torch's, which are the fastest, in float64 where they are to be `exact`. `errors` bounds how
    far a score may be off otherwise, for each query. `device` is the CPU or one that torch knows.
    """

    count: int
    width: int
    errors: Any

    def __init__(self, queries: Items, lines: slice, *, exact: bool, device: str = "cpu") -> None:
        import torch

        starts = starts_of(queries.ends)
        first, last = int(starts[lines.start]), int(queries.ends[lines.stop - 1])
        self._vectors = queries.rows(first, last)  # [width, dim]
        self._starts = starts[lines] - first
        self._ends = queries.ends[lines] - first
        self.count, self.width = len(self._starts), last - first
        self._device = torch.device(device)
        self._dtype = np.float64 if exact or _rounds_products(self._device.type) else np.float32
        # Torch allocates where products are the fastest, and NumPy needn't.
        self._columns = self._tensor(self._vectors).T.clone(memory_format=torch.contiguous_format)
        self._room = torch.empty(0, self.width, dtype=self._columns.dtype)
        counts = counts_of(self._ends)
        # Of each product as in `topk`; of the sum of `counts` of them in any order; and of the rounding.
        each = 1.01 * self._vectors.shape[1] * 2.0**-24 + 2.0**-24
        self.errors = (counts * each + (1.01 * counts + 1) * counts * 2.0**-24).tolist()

    def score(self, documents: Items, places: slice) -> Vectors:
        """The scores of neighbouring documents, `[queries, documents]`."""
        import torch

        found = np.empty((self.count, places.stop - places.start), np.float32)
        with torch.inference_mode(), torch.autocast(self._device.type, enabled=False):
            for part in _stretches(documents.ends, places, self._vectors.shape[1], self.width):
                first = int(documents.ends[part.start - 1]) if part.start else 0
                ends = documents.ends[part] - first
                rows = documents.rows(first, first + int(ends[-1]))
                best = self._find_best(rows, ends)  # [documents, width]
                found[:, part.start - places.start : part.stop - places.start] = self._sum(best).T
        return found

    def score_each(self, line: int, documents: Items, places: Positions) -> Vectors:
        """The exact scores of one query with documents anywhere, `[documents]`."""
        query = self._vectors[self._starts[line] : self._ends[line]].astype(np.float64)
        found = np.empty(len(places), np.float32)
        for at, place in enumerate(places.tolist()):
            first = int(documents.ends[place - 1]) if place else 0
            rows = documents.rows(first, int(documents.ends[place])).astype(np.float64)
            found[at] = np.clip((rows @ query.T).max(axis=0), -1, 1).sum()
        return found

    def _find_best(self, rows: Vectors, ends: Positions) -> Array:
        """Find the highest product of each query vector in each document, `[documents, width]`."""
        if self._device.type != "cpu":
            return self._find_on_device(rows, ends)
        import torch

        best = np.empty((len(ends), self.width), self._dtype)
        given, found = self._tensor(rows), as_tensor_to_read(best)
        tile = max(1, _TILE // self.width)
        for part in cut_items(ends, tile):
            bounds = [int(ends[part.start - 1]) if part.start else 0, *ends[part].tolist()]
            first, last = bounds[0], bounds[-1]
            if last - first <= tile:
                _reduce(self._multiply(given[first:last]), bounds, found[part])
                continue
            # A single document, which may have any number of rows: pieces of one size, each within a tile.
            pieces = given[first:last].tensor_split(-(-(last - first) // tile))
            maxima = [self._multiply(piece).amax(dim=0) for piece in pieces]
            torch.amax(torch.stack(maxima), dim=0, out=found[part.start])
        return best

    def _multiply(self, rows: Tensor) -> Tensor:
        """The products of rows with all vectors of queries, `[rows, width]`, in memory that is used again."""
        import torch

        if len(self._room) < len(rows):
            self._room = torch.empty(len(rows), self.width, dtype=rows.dtype)
        return torch.mm(rows, self._columns, out=self._room[: len(rows)])

    def _find_on_device(self, rows: Vectors, ends: Positions) -> Array:
        """Find the same on another device, where a tile is as large as a stretch of documents."""
        import torch

        best = np.empty((len(ends), self.width), self._dtype)
        for part in cut_items(ends, max(1, _DEVICE_TILE // self.width)):
            first = int(ends[part.start - 1]) if part.start else 0
            products = self._tensor(rows[first : int(ends[part.stop - 1])]) @ self._columns  # [rows, width]
            counts = counts_of(ends[part] - first)
            lengths = torch.from_numpy(counts).to(self._device)
            best[part] = torch.segment_reduce(products, "max", lengths=lengths, axis=0).cpu().numpy()
        return best

    def _sum(self, best: Array) -> Vectors:
        """Add up the best products of each query, `[documents, width]` to `[documents, queries]`."""
        largest = best.max(initial=0.0)  # NaN where one is among them
        if not largest <= _HIGHEST:
            raise ValueError(
                f"a cosine is {largest:g}, and unit vectors have none above 1: use vectors as encode_multi() "
                "gives them"
            )
        np.clip(best, -1, 1, out=best)
        return np.add.reduceat(best, self._starts, axis=1).astype(np.float32, copy=False)

    def _tensor(self, array: Array) -> Tensor:
        """The array on the device, in the same memory where that is possible."""
        return as_tensor_to_read(array.astype(self._dtype, copy=False)).to(self._device)


def cut_items(ends: Positions, rows: int) -> Iterator[slice]:
    """Cut items into neighbouring ones that have `rows` rows together at most, or are a single one."""
    start, before = 0, 0
    while start < len(ends):
        stop = max(start + 1, int(np.searchsorted(ends, before + rows, side="right")))
        yield slice(start, stop)
        start, before = stop, int(ends[stop - 1])


def _stretches(ends: Positions, places: slice, dim: int, width: int) -> Iterator[slice]:
    """Cut neighbouring documents into stretches whose vectors, and whose maxima, are few enough to hold."""
    before = int(ends[places.start - 1]) if places.start else 0
    most = max(1, _MAXIMA // width)
    for part in cut_items(ends[places] - before, max(1, _STRETCH // dim)):
        for start in range(part.start, part.stop, most):
            stop = min(start + most, part.stop)
            yield slice(places.start + start, places.start + stop)


def _reduce(products: Tensor, bounds: list[int], best: Tensor) -> None:
    """Reduce the products `[rows, width]` of whole documents to the highest of each, `[documents, width]`.

    `bounds` are where the first begins and each ends. Which way is the quickest depends on shapes; the maxima
    are the same ones.
    """
    import torch

    count, rest = divmod(len(products), len(best))
    if not rest and all(end - start == count for start, end in pairwise(bounds)):
        torch.amax(products.view(len(best), count, -1), dim=1, out=best)
    elif products.shape[1] <= _NARROW:
        starts = [start - bounds[0] for start in bounds[:-1]]
        np.maximum.reduceat(products.numpy(), starts, axis=0, out=best.numpy())
    else:
        for place, (start, end) in enumerate(pairwise(bounds)):
            torch.amax(products[start - bounds[0] : end - bounds[0]], dim=0, out=best[place])


def _rounds_products(device: str) -> bool:
    """Whether torch was told to multiply float32 with fewer bits, past any bound known here."""
    import torch

    backend: Any = torch.backends.cuda if device == "cuda" else torch.backends.mkldnn
    products = getattr(backend, "matmul", None)
    precision = getattr(products, "fp32_precision", None)  # which torch has only since 2.9
    if precision is None:
        return torch.get_float32_matmul_precision() != "highest"
    return precision not in ("ieee", "none")
