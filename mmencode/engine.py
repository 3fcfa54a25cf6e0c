"""The path, from a batch of raw items to embeddings in input order: read, preprocess, collate, move,
forward, project, normalise, write.

This is the simple and correct engine. Worker threads read and preprocess, a bounded window of prepared
items is put into batches of like cost, and every vector goes to its item's row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch.nn.functional import normalize

from .embeddings import Positions, Vectors
from .encoder import Tensors
from .errors import EncoderError, InputError
from .inputs import Limits, reader
from .inputs.source import describe
from .runtime import Runtime
from .towers import Tower

OnError = Literal["raise", "skip"]
Advance = Callable[[int, int], None]

# Prepared items wait in a window, so that items of like cost can share a batch. The two bounds keep memory
# independent of the number of items: the first one met closes the window.
_WINDOW_ITEMS = 1024
_WINDOW_BYTES = 2**24
_CHUNK = 8  # items that one worker takes at a time; a task for each short text would cost more than the text


@dataclass(slots=True)
class Prepared:
    """One item after preprocessing: its tensors, or why there are none."""

    index: int
    tensors: Tensors | None = None
    cost: int = 0
    error: InputError | None = None

    @property
    def nbytes(self) -> int:
        """The memory that its tensors take."""
        return sum(tensor.nbytes for tensor in (self.tensors or {}).values())

    @property
    def elements(self) -> int:
        """How many numbers its tensors hold: the work that it is, whatever type they travel in."""
        return sum(tensor.numel() for tensor in (self.tensors or {}).values())


@dataclass(frozen=True, eq=False, slots=True)
class Result:
    """Vectors `[n, dim]` of the items at `positions`, and the errors of the others."""

    vectors: Vectors
    positions: Positions
    errors: list[InputError]


def run(
    tower: Tower,
    items: Sequence[Any],
    *,
    runtime: Runtime,
    limits: Limits,
    on_error: OnError,
    advance: Advance,
) -> Result:
    """Encode all items with one tower; `advance(done, failed)` is called as it goes."""
    vectors = np.empty((len(items), tower.dim), np.float32)
    errors: list[InputError] = []
    for window in _windows(_prepare_all(tower, items, runtime, limits)):
        failed = [item.error for item in window if item.error is not None]
        if failed and on_error == "raise":
            raise failed[0]
        errors += failed
        advance(len(failed), len(failed))
        for batch in _batches(window, runtime):
            embeddings, batch_errors = _embed(tower, batch, items, runtime)
            if batch_errors and on_error == "raise":
                raise batch_errors[0]
            errors += batch_errors
            vectors[[item.index for item in batch]] = embeddings
            advance(len(batch), len(batch_errors))
    return _in_order(vectors, errors)


def _prepare_all(
    tower: Tower, items: Sequence[Any], runtime: Runtime, limits: Limits
) -> Iterator[list[Prepared]]:
    """Read and preprocess in worker threads, a few chunks ahead of the reader, in input order."""
    read = reader(tower.spec.modality)

    def prepare(start: int) -> list[Prepared]:
        chunk = range(start, min(start + _CHUNK, len(items)))
        return [_prepare(tower, read, items[index], index, limits) for index in chunk]

    pool = ThreadPoolExecutor(runtime.workers, thread_name_prefix="mmencode")
    ahead: deque[Future[list[Prepared]]] = deque()
    try:
        for start in range(0, len(items), _CHUNK):
            ahead.append(pool.submit(prepare, start))
            if len(ahead) > 2 * runtime.workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(
    tower: Tower, read: Callable[[Any, Limits], Any], item: Any, index: int, limits: Limits
) -> Prepared:
    try:
        safe = read(item, limits)
    except InputError as error:
        return Prepared(index, error=error.at(index))
    try:
        tensors = tower.encoder.preprocess(safe)
        return Prepared(index, tensors, tower.encoder.cost(tensors))
    except Exception as cause:  # the contract: whatever preprocess raises is that item's error
        failure = InputError(
            f"encoder {tower.spec.name!r} can't preprocess it: {type(cause).__name__}: {cause}",
            source=describe(item),
            remedy="leave the item out, or report it to the encoder's author",
            index=index,
        )
        failure.__cause__ = cause
        return Prepared(index, error=failure)


def _windows(chunks: Iterator[list[Prepared]]) -> Iterator[list[Prepared]]:
    window: list[Prepared] = []
    size = 0
    for chunk in chunks:
        window += chunk
        size += sum(item.nbytes for item in chunk)
        if len(window) >= _WINDOW_ITEMS or size >= _WINDOW_BYTES:
            yield window
            window, size = [], 0
    if window:
        yield window


def _batches(window: list[Prepared], runtime: Runtime) -> Iterator[list[Prepared]]:
    """The window's good items in batches of like cost, none over the runtime's items and elements."""
    batch: list[Prepared] = []
    size = 0
    for item in sorted(window, key=lambda item: item.cost):
        if item.tensors is None:
            continue
        if batch and (len(batch) == runtime.batch_size or size + item.elements > runtime.batch_elements):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.elements
    if batch:
        yield batch


def _embed(
    tower: Tower, batch: list[Prepared], items: Sequence[Any], runtime: Runtime
) -> tuple[Vectors, list[InputError]]:
    """Unit vectors `[b, dim]` of one batch, and an error for each row that has none."""
    with torch.inference_mode():
        features = _forward(tower, batch, runtime)  # [b, width]
        projected = tower.projection(features.float())  # [b, dim]
        _check_shape(tower, projected, (len(batch), tower.dim), "embeddings")
        lengths = projected.norm(dim=-1)  # [b]
        useless = ~torch.isfinite(lengths) | (lengths == 0)
        vectors = normalize(projected, dim=-1).cpu().numpy()
    errors = [
        InputError(
            f"encoder {tower.spec.name!r} gives it no direction: a vector of length {lengths[row]:g}",
            source=describe(items[batch[row].index]),
            remedy="leave the item out; if it is an ordinary one, the encoder is at fault",
            index=batch[row].index,
        )
        for row in useless.nonzero()[:, 0].tolist()
    ]
    return vectors, errors


def _forward(tower: Tower, batch: list[Prepared], runtime: Runtime) -> torch.Tensor:
    """Collate, move, and run the encoder; what goes wrong here is the encoder's fault, not an item's."""
    try:
        collated = tower.encoder.collate([item.tensors for item in batch if item.tensors is not None])
        features = tower.encoder(runtime.move(collated))
    except Exception as cause:
        raise EncoderError(
            f"encoder {tower.spec.name!r} failed on a batch of {len(batch)}: {type(cause).__name__}: {cause}",
            culprit=f"items {sorted(item.index for item in batch)}",
            remedy="if memory ran out, load with a smaller batch_size; else tell the encoder's author",
        ) from cause
    _check_shape(tower, features, (len(batch), tower.encoder.width), "features")
    return features  # type: ignore[no-any-return]


def _check_shape(tower: Tower, tensor: torch.Tensor, expected: tuple[int, int], what: str) -> None:
    if tuple(tensor.shape) != expected:
        raise EncoderError(
            f"encoder {tower.spec.name!r} gave {what} of shape {tuple(tensor.shape)}, not {expected}",
            remedy="the encoder's author corrects its width, its dim or its forward pass",
        )


def _in_order(vectors: Vectors, errors: list[InputError]) -> Result:
    """Leave out the rows of failed items; positions say which items the others are."""
    errors.sort(key=lambda error: -1 if error.index is None else error.index)
    kept = np.ones(len(vectors), bool)
    kept[[error.index for error in errors if error.index is not None]] = False
    positions = np.flatnonzero(kept)
    return Result(vectors if kept.all() else vectors[kept], positions, errors)
