"""The path, from raw items to embeddings in input order: read, preprocess, collate, move, forward, project,
normalise, write.

Threads read and preprocess, a bounded distance ahead. A window of prepared items is put into batches of like
cost, and what they give returns to input order. Memory doesn't depend on the number of items.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from .causes import fault_of, named, out_of_memory
from .embeddings import Positions, Vectors
from .encoder import Tensors
from .errors import EncoderError, InputError
from .inputs import Limits, reader
from .inputs.limits import raising
from .inputs.source import describe
from .runtime import Runtime, move, streams
from .towers import Tower
from .workers import Work, in_order, shared

T = TypeVar("T")
OnError = Literal["raise", "skip"]
Advance = Callable[[int, int], None]

_FAST = 3  # with fast=True a JPEG keeps so many times the pixels that its encoder looks at; 2 is too few


@dataclass(slots=True)
class Prepared:
    """One item after preprocessing: its tensors, or why there are none; `source` says what it was."""

    index: int
    source: str = ""
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
    """One call: what to encode with what, and whom to tell; `advance(done, failed)` is called as it goes.

    There is a tower for each device, all alike. A part of the result never reaches over a multiple of
    `chunk` items.
    """

    towers: tuple[Tower, ...]
    items: Iterable[Any]
    runtime: Runtime
    limits: Limits
    on_error: OnError
    advance: Advance
    chunk: int
    fast: bool = False

    @property
    def tower(self) -> Tower:
        """Any of them."""
        return self.towers[0]


@dataclass(frozen=True, eq=False, slots=True)
class Part(Generic[T]):
    """What became of consecutive items: a row for each at `positions`, an error for each other one."""

    count: int
    rows: T
    positions: Positions
    errors: list[InputError]


def run(job: Job) -> Generator[Part[Vectors], None, None]:
    """The whole path, a part at a time, in input order: unit vectors `[k, dim]`."""
    with closing(_prepare_all(job)) as prepared:
        yield from shared(_windows(job, prepared), _hands(job, _embed))


def run_features(job: Job) -> Generator[Part[Vectors], None, None]:
    """The path up to the encoder's features `[k, width]`, neither projected nor normalised."""
    with closing(_prepare_all(job)) as prepared:
        yield from shared(_windows(job, prepared), _hands(job, _features))


def run_tokens(job: Job) -> Generator[Part[list[Vectors]], None, None]:
    """The path up to the encoder's contextual outputs `[t, width]`, neither projected nor normalised."""
    with closing(_prepare_all(job)) as prepared:
        yield from shared(_windows(job, prepared), _hands(job, _contextual))


def _hands(job: Job, compute: Callable[[Job, list[Prepared]], T]) -> list[Callable[[list[Prepared]], T]]:
    """Each computes one window at a time, on one device and, where it has streams, on one of these.

    So the copies of one window overlap with the forward passes of another, and several devices share a call.
    """

    def on_stream(tower: Tower, stream: torch.cuda.Stream | None, window: list[Prepared]) -> T:
        with torch.cuda.stream(stream):  # without a stream this does nothing
            return compute(replace(job, towers=(tower,)), window)

    return [partial(on_stream, tower, stream) for tower in job.towers for stream in streams(tower.device)]


def _prepare_all(job: Job) -> Generator[Prepared, None, None]:
    """Read and preprocess in threads, in input order.

    Gain of the second thread: 1.4 times for photographs of 12 megapixels; with fast=True 2.1 times as fast
    again (tests/benchmarks/gains.py).
    """
    least = _FAST * job.tower.encoder.resolution if job.fast else 0
    read = reader(job.tower.spec.modality, least)

    def late(index: int, item: Any) -> Prepared:
        error = InputError(
            f"reading and preprocessing it takes more than {job.limits.wait:g} s",
            source=describe(item),
            remedy=f"leave it out, or {raising('wait')}",
            index=index,
            fault="time",
        )
        return Prepared(index, error=error)

    work = Work(
        do=lambda index, item: _prepare(job, read, index, item),
        late=late,
        size=lambda prepared: prepared.nbytes,
        seconds=job.limits.wait,
        threads=job.runtime.workers,
        ahead=job.runtime.window_items,
        nbytes=job.runtime.window_bytes,
    )
    return in_order(job.items, work)


def _prepare(job: Job, read: Callable[[Any, Limits], Any], index: int, item: Any) -> Prepared:
    encoder = job.tower.encoder
    try:
        safe = read(item, job.limits)
    except InputError as error:
        return Prepared(index, error=error.at(index))
    except BaseException as cause:  # a reader's fault, but no reason to lose the others' work
        return Prepared(index, error=_unprepared("it can't be read", cause, index, item))
    try:
        tensors = encoder.preprocess(safe)
        return Prepared(index, describe(item), tensors, encoder.cost(tensors))
    except InputError as error:  # it says itself what is wrong with the item, as a reader's does
        error.source = error.source or describe(item)
        return Prepared(index, error=error.at(index))
    except BaseException as cause:  # the contract: whatever preprocess raises is that item's error
        fact = f"encoder {job.tower.spec.name!r} can't preprocess it"
        return Prepared(index, error=_unprepared(fact, cause, index, item))


def _unprepared(fact: str, cause: BaseException, index: int, item: Any) -> InputError:
    error = InputError(
        f"{fact}: {named(cause)}",
        source=describe(item),
        remedy="leave the item out, or report it to the encoder's author",
        index=index,
        fault=fault_of(cause, "encoder"),
    )
    error.__cause__ = cause
    return error


def _windows(job: Job, prepared: Iterator[Prepared]) -> Iterator[list[Prepared]]:
    """Consecutive items, as many as may be held at once; with on_error="raise" the first bad one ends it.

    What drawing an item raises comes after the window of those before it.
    """
    window: list[Prepared] = []
    size, failure = 0, None
    try:
        for item in prepared:
            if item.error is not None and job.on_error == "raise":
                window = []
                raise item.error
            window.append(item)
            size += item.nbytes
            full = len(window) == job.runtime.window_items or size >= job.runtime.window_bytes
            if full or (item.index + 1) % job.chunk == 0:
                yield window
                window, size = [], 0
    except Exception as cause:
        failure = cause
    if window:
        yield window
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
    tower, outcome = job.tower, Outcome(window)
    with torch.inference_mode():
        vectors = _finished(job, outcome, tower.projection, tower.dim)  # [k, dim]
        lengths = vectors.norm(dim=-1, keepdim=True)  # [k, 1]
        rows = torch.cat([normalize(vectors, dim=-1), lengths], dim=1).cpu().numpy()  # [k, dim + 1]
    useless = ~np.isfinite(rows[:, -1]) | (rows[:, -1] == 0)
    for row in np.flatnonzero(useless).tolist():
        outcome.blame(row, f"encoder {tower.spec.name!r} gives it no direction: length {rows[row, -1]:g}")
    order = outcome.settle(job)
    return Part(len(window), rows[order, :-1], outcome.positions(order), outcome.errors)


def _features(job: Job, window: list[Prepared]) -> Part[Vectors]:
    """The features of a window."""
    tower, outcome = job.tower, Outcome(window)
    with torch.inference_mode():
        rows = _finished(job, outcome, nn.Identity(), tower.encoder.width).cpu().numpy()
    for row in np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist():
        outcome.blame(row, f"encoder {tower.spec.name!r} gives it features that aren't finite")
    order = outcome.settle(job)
    return Part(len(window), rows[order], outcome.positions(order), outcome.errors)


def _finished(job: Job, outcome: Outcome, finish: nn.Module, dim: int) -> Tensor:
    """What `finish` makes of a window's features, `[k, dim]`; on the device, to come back in one copy."""
    tower = job.tower
    blocks = [torch.empty(0, dim, device=tower.device)]
    for batch, features in _computed(job, outcome, tower.forward):  # features [b, width]
        _check_shape(tower, features, (len(batch), tower.encoder.width), "features")
        finished: Tensor = finish(features.float())
        _check_shape(tower, finished, (len(batch), dim), "embeddings")
        blocks.append(finished)
    return torch.cat(blocks)


def _contextual(job: Job, window: list[Prepared]) -> Part[list[Vectors]]:
    """The valid token outputs `[t, width]` of a window's items."""
    tower, outcome = job.tower, Outcome(window)
    rows: list[Vectors] = []
    with torch.inference_mode():
        for batch, (tokens, mask) in _computed(job, outcome, tower.encoder.forward_tokens):
            if tokens.ndim != 3 or tokens.shape[:2] != mask.shape or len(tokens) != len(batch):
                _check_shape(tower, tokens, (len(batch), *mask.shape[1:], tokens.shape[-1]), "tokens")
            arrays = tokens.float().cpu().numpy()  # [b, t, width]
            rows += [array[valid] for array, valid in zip(arrays, mask.bool().cpu().numpy(), strict=True)]
    for row, array in enumerate(rows):
        if not np.isfinite(array).all():
            outcome.blame(row, f"encoder {tower.spec.name!r} gives it tokens that aren't finite")
    order = outcome.settle(job)
    return Part(len(window), [rows[row] for row in order], outcome.positions(order), outcome.errors)


class Outcome:
    """Which items of a window were computed, in which order, and what is wrong with the others."""

    def __init__(self, window: list[Prepared]) -> None:
        self.window = window
        self.computed: list[Prepared] = []
        self.errors = [item.error for item in window if item.error is not None]

    def blame(self, row: int, fact: str) -> None:
        """Note what is wrong with a computed row."""
        item = self.computed[row]
        item.error = _blame(item, fact)
        self.errors.append(item.error)

    def settle(self, job: Job) -> list[int]:
        """The computed rows that are good, in input order; the first error is raised if that is asked for."""
        self.errors.sort(key=lambda error: error.index or 0)
        if self.errors and job.on_error == "raise":
            raise self.errors[0]
        job.advance(len(self.window) - len(self.computed), len(self.errors))
        good = [row for row, item in enumerate(self.computed) if item.error is None]
        return sorted(good, key=lambda row: self.computed[row].index)

    def positions(self, order: list[int]) -> Positions:
        """The places in the input of these computed rows."""
        return np.array([self.computed[row].index for row in order], np.int64)


def _computed(
    job: Job, outcome: Outcome, forward: Callable[[Tensors], T]
) -> Iterator[tuple[list[Prepared], T]]:
    """What `forward` makes of each batch of the window; a batch may come back in pieces."""
    for whole in _batches(job, outcome.window):
        pieces, errors = _forward(job, whole, forward)
        if not pieces and len(whole) > 1 and job.on_error == "raise":  # hardly the fault of each of them
            raise _broken(job, whole, errors[0]) from errors[0].__cause__
        outcome.errors += errors
        for batch, output in pieces:
            outcome.computed += batch
            yield batch, output
            job.advance(len(batch), 0)


def _forward(
    job: Job, batch: list[Prepared], forward: Callable[[Tensors], T]
) -> tuple[list[tuple[list[Prepared], T]], list[InputError]]:
    """Collate, move, and run `forward`; a batch that fails is halved until what is at fault stands alone.

    So memory that runs out costs a few passes, and an item that breaks the forward pass costs its neighbours
    nothing. How many items fit is remembered by the tower.
    """
    tower = job.tower
    try:
        collated = tower.encoder.collate([item.tensors for item in batch if item.tensors is not None])
        return [(batch, forward(move(collated, tower.device, tower.dtype)))], []
    except NotImplementedError as cause:
        raise EncoderError(
            f"encoder {tower.spec.name!r} can't do that: {cause}", remedy="encode() gives its embeddings"
        ) from cause
    except Exception as cause:
        if out_of_memory(cause):
            tower.budget.ran_out(batch[-1].elements, len(batch))
        if len(batch) == 1:
            return [], [_blame(batch[0], f"{_failed(tower)} on it: {named(cause)}", cause)]
    # Not inside the handler: there, the failed pass's tensors would live on with the exception.
    half = len(batch) // 2
    first, first_errors = _forward(job, batch[:half], forward)
    second, second_errors = _forward(job, batch[half:], forward)
    return first + second, first_errors + second_errors


def _blame(item: Prepared, fact: str, cause: BaseException | None = None) -> InputError:
    error = InputError(
        fact,
        source=item.source,
        remedy="leave the item out; if it is an ordinary one, the encoder is at fault",
        index=item.index,
        fault="encoder" if cause is None else fault_of(cause, "encoder"),
    )
    error.__cause__ = cause
    return error


def _failed(tower: Tower) -> str:
    return f"encoder {tower.spec.name!r} failed"


def _broken(job: Job, batch: list[Prepared], error: InputError) -> EncoderError:
    cause = error.__cause__
    return EncoderError(
        f"{_failed(job.tower)} on each of a batch of {len(batch)}: {type(cause).__name__}: {cause}",
        culprit=f"items {sorted(item.index for item in batch)}",
        remedy="tell the encoder's author; if memory ran out, use another device",
    )


def _check_shape(tower: Tower, tensor: Tensor, expected: tuple[int, ...], what: str) -> None:
    if tuple(tensor.shape) != expected:
        raise EncoderError(
            f"encoder {tower.spec.name!r} gave {what} of shape {tuple(tensor.shape)}, not {expected}",
            remedy="the encoder's author corrects its width, its dim or its forward pass",
        )
