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
from typing import Any, Literal, TypeVar

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

T = TypeVar("T")
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
class Job:
    """One call: what to encode with what, and whom to tell; `advance(done, failed)` is called as it goes."""

    tower: Tower
    items: Sequence[Any]
    runtime: Runtime
    limits: Limits
    on_error: OnError
    advance: Advance


@dataclass(frozen=True, eq=False, slots=True)
class Result:
    """Vectors `[n, dim]` of the items at `positions`, and the errors of the others."""

    vectors: Vectors
    positions: Positions
    errors: list[InputError]


@dataclass(frozen=True, eq=False, slots=True)
class TokenResult:
    """Token outputs, an array `[t, width]` for each of the items at `positions`, and the others' errors."""

    values: list[Vectors]
    positions: Positions
    errors: list[InputError]


def run(job: Job) -> Result:
    """The whole path: every item's vector in its row of one preallocated array."""
    vectors = np.empty((len(job.items), job.tower.dim), np.float32)
    errors: list[InputError] = []
    for batch, rows in _batch_by_batch(job, _embed, errors):
        vectors[[item.index for item in batch]] = rows
    positions = _positions(job, errors)
    return Result(vectors if len(positions) == len(vectors) else vectors[positions], positions, errors)


def run_tokens(job: Job) -> TokenResult:
    """The path up to the encoder's contextual outputs, which are neither projected nor normalised."""
    values: dict[int, Vectors] = {}
    errors: list[InputError] = []
    for batch, rows in _batch_by_batch(job, _contextual, errors):
        values.update(zip((item.index for item in batch), rows, strict=True))
    positions = _positions(job, errors)
    return TokenResult([values[position] for position in positions.tolist()], positions, errors)


def _batch_by_batch(
    job: Job, compute: Callable[[Job, list[Prepared]], tuple[T, list[InputError]]], errors: list[InputError]
) -> Iterator[tuple[list[Prepared], T]]:
    """What `compute` makes of each batch; items that can't be encoded are raised, or added to `errors`."""

    def note(failed: list[InputError]) -> None:
        if failed and job.on_error == "raise":
            raise failed[0]
        errors.extend(failed)

    for window in _windows(_prepare_all(job)):
        failed = [item.error for item in window if item.error is not None]
        note(failed)
        job.advance(len(failed), len(failed))
        for batch in _batches(window, job.runtime):
            output, batch_errors = compute(job, batch)
            note(batch_errors)
            yield batch, output
            job.advance(len(batch), len(batch_errors))


def _prepare_all(job: Job) -> Iterator[list[Prepared]]:
    """Read and preprocess in worker threads, a few chunks ahead of the reader, in input order."""
    read = reader(job.tower.spec.modality)

    def prepare(start: int) -> list[Prepared]:
        chunk = range(start, min(start + _CHUNK, len(job.items)))
        return [_prepare(job, read, index) for index in chunk]

    pool = ThreadPoolExecutor(job.runtime.workers, thread_name_prefix="mmencode")
    ahead: deque[Future[list[Prepared]]] = deque()
    try:
        for start in range(0, len(job.items), _CHUNK):
            ahead.append(pool.submit(prepare, start))
            if len(ahead) > 2 * job.runtime.workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(job: Job, read: Callable[[Any, Limits], Any], index: int) -> Prepared:
    item, encoder = job.items[index], job.tower.encoder
    try:
        safe = read(item, job.limits)
    except InputError as error:
        return Prepared(index, error=error.at(index))
    try:
        tensors = encoder.preprocess(safe)
        return Prepared(index, tensors, encoder.cost(tensors))
    except Exception as cause:  # the contract: whatever preprocess raises is that item's error
        failure = InputError(
            f"encoder {job.tower.spec.name!r} can't preprocess it: {type(cause).__name__}: {cause}",
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


def _embed(job: Job, batch: list[Prepared]) -> tuple[Vectors, list[InputError]]:
    """Unit vectors `[b, dim]` of one batch, and an error for each row that has none."""
    tower = job.tower
    with torch.inference_mode():
        features = _guarded(job, batch, tower.encoder)  # [b, width]
        _check_shape(tower, features, (len(batch), tower.encoder.width), "features")
        projected = tower.projection(features.float())  # [b, dim]
        _check_shape(tower, projected, (len(batch), tower.dim), "embeddings")
        lengths = projected.norm(dim=-1)  # [b]
        useless = ~torch.isfinite(lengths) | (lengths == 0)
        vectors = normalize(projected, dim=-1).cpu().numpy()
    reasons = {
        row: f"gives it no direction: a vector of length {lengths[row]:g}"
        for row in useless.nonzero()[:, 0].tolist()
    }
    return vectors, _blame(job, batch, reasons)


def _contextual(job: Job, batch: list[Prepared]) -> tuple[list[Vectors], list[InputError]]:
    """The valid token outputs `[t, width]` of each item of one batch."""
    with torch.inference_mode():
        tokens, mask = _guarded(job, batch, job.tower.encoder.forward_tokens)  # [b, t, width], [b, t]
        if tokens.ndim != 3 or tokens.shape[:2] != mask.shape or len(tokens) != len(batch):
            _check_shape(job.tower, tokens, (len(batch), *mask.shape[1:], tokens.shape[-1]), "tokens")
        arrays = [rows[valid.bool()].float().cpu().numpy() for rows, valid in zip(tokens, mask, strict=True)]
    reasons = {
        row: "gives it tokens that aren't finite"
        for row, array in enumerate(arrays)
        if not np.isfinite(array).all()
    }
    return arrays, _blame(job, batch, reasons)


def _guarded(job: Job, batch: list[Prepared], forward: Callable[[Tensors], T]) -> T:
    """Collate, move, and run `forward`; what goes wrong here is the encoder's fault, not an item's."""
    tower = job.tower
    try:
        collated = tower.encoder.collate([item.tensors for item in batch if item.tensors is not None])
        return forward(job.runtime.move(collated))
    except NotImplementedError as cause:
        raise EncoderError(
            f"encoder {tower.spec.name!r} can't do that: {cause}",
            remedy="encode() gives its embeddings",
        ) from cause
    except Exception as cause:
        raise EncoderError(
            f"encoder {tower.spec.name!r} failed on a batch of {len(batch)}: {type(cause).__name__}: {cause}",
            culprit=f"items {sorted(item.index for item in batch)}",
            remedy="if memory ran out, load with a smaller batch_size; else tell the encoder's author",
        ) from cause


def _blame(job: Job, batch: list[Prepared], reasons: dict[int, str]) -> list[InputError]:
    """An error for each row of the batch that has a reason."""
    return [
        InputError(
            f"encoder {job.tower.spec.name!r} {reason}",
            source=describe(job.items[batch[row].index]),
            remedy="leave the item out; if it is an ordinary one, the encoder is at fault",
            index=batch[row].index,
        )
        for row, reason in reasons.items()
    ]


def _check_shape(tower: Tower, tensor: torch.Tensor, expected: tuple[int, ...], what: str) -> None:
    if tuple(tensor.shape) != expected:
        raise EncoderError(
            f"encoder {tower.spec.name!r} gave {what} of shape {tuple(tensor.shape)}, not {expected}",
            remedy="the encoder's author corrects its width, its dim or its forward pass",
        )


def _positions(job: Job, errors: list[InputError]) -> Positions:
    """The places of the items that were encoded; sorts `errors` by the places of the others."""
    errors.sort(key=lambda error: -1 if error.index is None else error.index)
    kept = np.ones(len(job.items), bool)
    kept[[error.index for error in errors if error.index is not None]] = False
    return np.flatnonzero(kept)
