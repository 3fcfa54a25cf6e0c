"""The result: vectors that know which space they belong to."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .card import require_same_space
from .errors import InputError

Vectors = np.ndarray[Any, np.dtype[np.float32]]
Positions = np.ndarray[Any, np.dtype[np.int64]]

_FORMAT = "mmencode-embeddings-1"
_BLOCK = 2**24  # scores held at once while searching: 64 MiB


class Embeddings:
    """Unit vectors `[n, dim]`, float32 and contiguous, with the identity of their space.

    `space` is the id of the space's card. `positions[i]` is the place of row i in the batch it came from,
    and `errors` holds the items that were skipped, each with `index`, `source` and reason. `np.asarray`
    gives the vectors without a copy; indexing by an int, slice, mask or array gives Embeddings again.
    """

    __slots__ = ("errors", "modality", "positions", "space", "vectors")

    def __init__(
        self,
        vectors: Vectors,
        *,
        space: str,
        modality: str,
        positions: Positions | None = None,
        errors: Sequence[InputError] = (),
    ) -> None:
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if self.vectors.ndim != 2:
            raise ValueError(f"vectors have the shape {self.vectors.shape}: make it [n, dim]")
        self.positions = np.arange(len(vectors)) if positions is None else np.asarray(positions, np.int64)
        if self.positions.shape != (len(self.vectors),):
            raise ValueError(f"{len(self.vectors)} vectors have positions of shape {self.positions.shape}")
        self.space = space
        self.modality = modality
        self.errors = tuple(errors)

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
        )

    def __repr__(self) -> str:
        skipped = f", {len(self.errors)} skipped" if self.errors else ""
        return f"<Embeddings {len(self)} x {self.dim}, {self.modality}, {self.space}{skipped}>"

    @staticmethod
    def concatenate(parts: Sequence[Embeddings]) -> Embeddings:
        """All rows of the parts in turn, refused across spaces; positions and errors stay those of the parts.

        The modality is "mixed" unless all parts have the same one.
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
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file with the vectors, their positions, and the identity in its metadata.

        Written beside the target and renamed, so that no half file is ever left under its name.
        """
        from safetensors.numpy import save

        metadata = {
            "format": _FORMAT,
            "space": self.space,
            "modality": self.modality,
            "errors": json.dumps([_error_to_dict(error) for error in self.errors]),
        }
        content = save({"vectors": self.vectors, "positions": self.positions}, metadata)
        target = Path(path)
        aside = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            aside.write_bytes(content)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Embeddings:
        """Read what `save` wrote; InputError for anything else."""
        from safetensors import SafetensorError, safe_open

        source = os.fspath(path)
        try:
            with safe_open(source, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != _FORMAT:
                    raise InputError(
                        f"it is no file of embeddings: its format is {metadata.get('format')!r}",
                        source=source,
                        remedy="pass a file that Embeddings.save or `mmencode encode` wrote",
                    )
                return Embeddings(
                    file.get_tensor("vectors"),
                    space=metadata["space"],
                    modality=metadata["modality"],
                    positions=file.get_tensor("positions"),
                    errors=[InputError(**fields) for fields in json.loads(metadata["errors"])],
                )
        except (OSError, SafetensorError) as cause:
            raise InputError(f"it can't be read: {cause}", source=source, remedy="check the path") from cause


def _error_to_dict(error: InputError) -> dict[str, Any]:
    return {"fact": error.fact, "source": error.source, "remedy": error.remedy, "index": error.index}


def _embeddings(value: object, name: str) -> Embeddings:
    if isinstance(value, Embeddings):
        return value
    raise TypeError(
        f"{name} is {type(value).__name__}, which doesn't say what space it belongs to: "
        "pass the Embeddings that encode() gives"
    )


def similarity(a: Embeddings, b: Embeddings) -> Vectors:
    """Cosine similarity of every row of `a` with every row of `b`, `[len(a), len(b)]`.

    Raises SpaceMismatchError when they belong to two spaces.
    """
    a, b = _embeddings(a, "a"), _embeddings(b, "b")
    require_same_space(a.space, b.space, "compared")
    scores: Vectors = a.vectors @ b.vectors.T
    return scores


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

    `k` is cut to the size of the corpus; equal scores keep the corpus's order. Raises SpaceMismatchError when
    they belong to two spaces.
    """
    queries, corpus = _embeddings(queries, "queries"), _embeddings(corpus, "corpus")
    require_same_space(queries.space, corpus.space, "searched together")
    if type(k) is not int or k < 1:
        raise ValueError(f"k is {k!r}: make it a positive int")
    k = min(k, len(corpus))
    rows = np.empty((len(queries), k), np.int64)
    scores = np.empty((len(queries), k), np.float32)
    step = max(1, _BLOCK // max(1, len(corpus)))
    for start in range(0, len(queries), step):
        block = queries.vectors[start : start + step] @ corpus.vectors.T  # [step, corpus]
        rows[start : start + step] = best = _best(block, k)
        scores[start : start + step] = np.take_along_axis(block, best, axis=1)
    return Matches(rows, scores, corpus.positions[rows])


def _best(scores: Vectors, k: int) -> Positions:
    """Columns of the k largest scores of each row, largest first, equal ones in order of column."""
    if k < scores.shape[1]:
        columns = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
    else:
        columns = np.broadcast_to(np.arange(k), (len(scores), k))
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    best: Positions = np.take_along_axis(columns, order, axis=1)
    return best
