"""The path, from raw items to embeddings in input order: read, preprocess, collate, move, forward, project,
normalise, write.

Threads read and preprocess, a bounded distance ahead (`preparing.py`). A window of prepared items is put into
batches of like cost, and what they give returns to input order. Memory doesn't depend on the number of items.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..embeddings.array_types import Vectors
from ..encoder import Tensors
from ..errors import EncoderError, InputError
from ..errors.causes import message_of, out_of_memory
from ..isolation.fence import plain_torch
from .blame import ends_the_call, failed_item, placed
from .hands import shared
from .job import Advance, Job, OnError, Part, Prepared, Window
from .outcome import Outcome
from .preparing import prepare_all
from .runtime import move, streams
from .towers import Tower

__all__ = ["Advance", "Job", "OnError", "Part", "run", "run_features", "run_tokens"]

T = TypeVar("T")
Compute = Callable[[Job, list[Prepared]], Part[T]]


def run(job: Job) -> Generator[Part[Vectors], None, None]:
    """The whole path, a part at a time, in input order: unit vectors `[k, dim]`."""
    return _parts(job, _embed)


def run_features(job: Job) -> Generator[Part[Vectors], None, None]:
    """The path up to the encoder's features `[k, width]`, neither projected nor normalised."""
    return _parts(job, _features)


def run_tokens(job: Job) -> Generator[Part[list[Vectors]], None, None]:
    """The path up to the encoder's contextual outputs `[t, width]`, neither projected nor normalised."""
    return _parts(job, _contextual)


def _parts(job: Job, compute: Compute[T]) -> Generator[Part[T], None, None]:
    with closing(prepare_all(job)) as prepared:
        yield from shared(_windows(job, prepared), _hands(job, compute))


@dataclass(frozen=True, eq=False, slots=True)
class _Hand(Generic[T]):
    """Computes one window at a time, on one device and, where it has streams, on one of these.

    So the copies of one window overlap with the forward passes of another, and several devices share a call.
    """

    job: Job
    compute: Compute[T]
    stream: torch.cuda.Stream | None

    def __call__(self, window: Window) -> Part[T]:
        """What became of its items."""
        with torch.cuda.stream(self.stream):  # without a stream this does nothing
            return replace(self.compute(self.job, window.items), ends=window.ends)


def _hands(job: Job, compute: Compute[T]) -> list[_Hand[T]]:
    return [
        _Hand(replace(job, towers=(tower,)), compute, stream)
        for tower in job.towers
        for stream in streams(tower.device)
    ]


def _windows(job: Job, prepared: Iterable[Prepared | None]) -> Iterator[Window]:
    """Consecutive items, as many as may be held at once; with on_error="raise" the first bad one ends it.

    What drawing an item raises comes after the window of those before it.
    """
    window: list[Prepared] = []
    size, failure = 0, None
    try:
        for item in prepared:
            if item is None:  # there is time to compute what has come so far
                if window:
                    yield Window(window, job.live)
                    window, size = [], 0
                continue
            if item.error is not None and job.on_error == "raise":
                if window:  # in it may be one that fails later on the way, and comes first
                    yield Window(window, True)
                yield Window([item], True)
                return
            window.append(item)
            size += item.nbytes
            ends = (item.index + 1) % job.chunk == 0
            if ends or len(window) == job.runtime.window_items or size >= job.runtime.window_bytes:
                yield Window(window, ends)
                window, size = [], 0
    except Exception as cause:
        failure = cause
    if window:
        yield Window(window, True)
    if failure is not None:
        raise failure


def _batches(job: Job, window: list[Prepared]) -> Iterator[list[Prepared]]:
    """The window's good items in batches of like cost, none over what the runtime and the tower allow.

    Gain: 1.4 times for captions, by less padding (tests/benchmarks/gains.py).
    """
    batch: list[Prepared] = []
    for item in sorted((item for item in window if item.tensors is not None), key=lambda item: item.cost):
        if batch and len(batch) >= job.tower.budget.items(item.elements, job.runtime):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _embed(job: Job, window: list[Prepared]) -> Part[Vectors]:
    """Unit vectors of a window."""
    tower, outcome = job.tower, Outcome(job, _embed, window)
    with plain_torch(tower.device.type), torch.inference_mode():
        vectors = _finished(job, outcome, _Rows(tower, tower.projection, tower.dim))  # [k, dim]
        lengths = vectors.norm(dim=-1, keepdim=True)  # [k, 1]
        rows = torch.cat([normalize(vectors, dim=-1), lengths], dim=1).cpu().numpy()  # [k, dim + 1]
    useless = ~np.isfinite(rows[:, -1]) | (rows[:, -1] == 0)
    for row in np.flatnonzero(useless).tolist():
        outcome.blame(row, f"encoder {tower.spec.name!r} gives it no direction: length {rows[row, -1]:g}")
    order = outcome.settle()
    return Part(len(window), rows[order, :-1], outcome.positions(order), outcome.errors)


def _features(job: Job, window: list[Prepared]) -> Part[Vectors]:
    """The features of a window."""
    tower, outcome = job.tower, Outcome(job, _features, window)
    with plain_torch(tower.device.type), torch.inference_mode():
        rows = _finished(job, outcome, _Rows(tower, nn.Identity(), tower.encoder.width)).cpu().numpy()
    for row in np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist():
        outcome.blame(row, f"encoder {tower.spec.name!r} gives it features that aren't finite")
    order = outcome.settle()
    return Part(len(window), rows[order], outcome.positions(order), outcome.errors)


def _finished(job: Job, outcome: Outcome, rows: _Rows) -> Tensor:
    """What becomes of a window's items, `[k, dim]`; on the device, to come back in one copy."""
    blocks = [torch.empty(0, rows.dim, device=rows.tower.device)]
    blocks += [block for _, block in _computed(job, outcome, rows)]
    return torch.cat(blocks)


def _contextual(job: Job, window: list[Prepared]) -> Part[list[Vectors]]:
    """The valid token outputs `[t, width]` of a window's items."""
    tower, outcome = job.tower, Outcome(job, _contextual, window)
    rows: list[Vectors] = []
    with plain_torch(tower.device.type), torch.inference_mode():
        for _, (tokens, mask) in _computed(job, outcome, _TokenRows(tower)):
            arrays = tokens.float().cpu().numpy()  # [b, t, width]
            rows += [array[valid] for array, valid in zip(arrays, mask.bool().cpu().numpy(), strict=True)]
    for row, array in enumerate(rows):
        if not np.isfinite(array).all():
            outcome.blame(row, f"encoder {tower.spec.name!r} gives it tokens that aren't finite")
    order = outcome.settle()
    return Part(len(window), [rows[row] for row in order], outcome.positions(order), outcome.errors)


@dataclass(frozen=True, eq=False, slots=True)
class _Rows:
    """The pass to features and what `finish` makes of them, each of the shape that it must have."""

    tower: Tower
    finish: nn.Module
    dim: int

    def __call__(self, tensors: Tensors, count: int) -> Tensor:
        """Rows `[count, dim]`."""
        features = self.tower.forward(tensors)
        _require_shape(self.tower, features, (count, self.tower.encoder.width), "features")
        finished: Tensor = self.finish(features.float())
        _require_shape(self.tower, finished, (count, self.dim), "embeddings")
        return finished


@dataclass(frozen=True, eq=False, slots=True)
class _TokenRows:
    """The pass to contextual outputs."""

    tower: Tower

    def __call__(self, tensors: Tensors, count: int) -> tuple[Tensor, Tensor]:
        """Tokens `[count, t, width]` and their mask `[count, t]`."""
        name = self.tower.spec.name
        try:
            tokens, mask = self.tower.encoder.forward_tokens(tensors)
        except NotImplementedError as cause:
            raise EncoderError(
                f"encoder {name!r} can't do that: {message_of(cause)}", remedy="encode() gives its embeddings"
            ) from cause
        length = mask.shape[-1] if isinstance(mask, Tensor) and mask.ndim else 0
        _require_shape(self.tower, mask, (count, length), "a mask")
        width = tokens.shape[-1] if isinstance(tokens, Tensor) and tokens.ndim else 0
        _require_shape(self.tower, tokens, (count, length, width), "tokens")
        return tokens, mask


def _computed(
    job: Job, outcome: Outcome, forward: Callable[[Tensors, int], T]
) -> Iterator[tuple[list[Prepared], T]]:
    """What `forward` makes of each batch of the window; a batch may come back in pieces."""
    for whole in _batches(job, outcome.window):
        pieces, errors = _forward(job.tower, whole, forward)
        outcome.errors += errors
        if not pieces and not outcome.computed:
            outcome.doubt()
        for batch, output in pieces:
            outcome.computed += batch
            yield batch, output
            job.advance(len(batch), 0)


def _forward(
    tower: Tower, batch: list[Prepared], forward: Callable[[Tensors, int], T]
) -> tuple[list[tuple[list[Prepared], T]], list[InputError]]:
    """Collate, move, and run `forward`; a batch that fails is halved until what is at fault stands alone.

    So memory that runs out costs a few passes, and an item that breaks the forward pass costs its neighbours
    nothing. How many items fit is remembered by the tower.
    """
    try:
        collated = tower.encoder.collate([item.tensors for item in batch if item.tensors is not None])
        return [(batch, forward(move(collated, tower.device, tower.dtype), len(batch)))], []
    except BaseException as cause:
        if ends_the_call(cause):
            raise
        if out_of_memory(cause):
            tower.budget.ran_out(batch[-1].elements, len(batch))
        if len(batch) == 1:
            return [], [_failed(tower, batch[0], cause)]
    # Not inside the handler: there, the failed pass's tensors would live on with the exception.
    half = len(batch) // 2
    first, first_errors = _forward(tower, batch[:half], forward)
    second, second_errors = _forward(tower, batch[half:], forward)
    return first + second, first_errors + second_errors


def _failed(tower: Tower, item: Prepared, cause: BaseException) -> InputError:
    if isinstance(cause, InputError):
        return placed(cause, item.index, item.source)
    return failed_item(f"encoder {tower.spec.name!r} failed on it", item.index, item.source, cause)


def _require_shape(tower: Tower, tensor: Any, expected: tuple[int, ...], what: str) -> None:
    name = tower.spec.name
    if not isinstance(tensor, Tensor):
        raise EncoderError(
            f"encoder {name!r} gave {what} that are no tensor, but {type(tensor).__name__}",
            remedy="the encoder's author corrects its forward pass",
        )
    if tuple(tensor.shape) != expected:
        raise EncoderError(
            f"encoder {name!r} gave {what} of shape {tuple(tensor.shape)}, not {expected}",
            remedy="the encoder's author corrects its width, its dim or its forward pass",
        )
