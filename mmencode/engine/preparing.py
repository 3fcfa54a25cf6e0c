"""Items read and preprocessed, in worker threads, a bounded distance ahead of the forward passes."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Generator
from typing import Any

from ..encoder import Tensors
from ..errors import InputError
from ..inputs import Limits, reader
from ..inputs.source import describe
from ..isolation.fence import float32_by_default
from .blame import failed_item, forget_items, late_item, placed
from .job import Job, Prepared
from .workers import Work, in_order, with_pauses

Read = Callable[[Any, Limits], Any]

_FAST = 3  # with fast=True a JPEG keeps so many times the pixels that its encoder looks at; 2 is too few
_PAUSE = 0.1  # seconds that the source of a stream may take before what it gave is computed


def prepare_all(job: Job) -> Generator[Prepared | None, None, None]:
    """Read and preprocess all items, in input order; None where their source pauses.

    Gain of the second thread: 1.4 times for photographs of 12 megapixels; with fast=True 2.1 times as fast
    again (tests/benchmarks/gains.py).
    """
    least = _FAST * job.tower.encoder.resolution if job.fast else 0
    return with_pauses(job.items, _work(job, reader(job.tower.spec.modality, least)))


def prepare_safe(job: Job) -> Generator[Prepared, None, None]:
    """The same of items that are safe values already."""
    return in_order(job.items, _work(job, _as_it_is))


def _as_it_is(item: Any, limits: Limits) -> Any:
    return item


def _work(job: Job, read: Read) -> Work[Prepared]:
    preparing = _Preparing(job, read)
    return Work(
        do=preparing.do,
        late=preparing.late,
        lost=preparing.lost,
        size=_nbytes,
        seconds=job.limits.wait,
        threads=job.runtime.workers,
        ahead=job.runtime.window_items,
        nbytes=job.runtime.window_bytes,
        chunk=job.chunk,
        pause=math.inf if job.chunk == sys.maxsize else _PAUSE,
        stragglers=job.stragglers,
    )


def _nbytes(prepared: Prepared) -> int:
    return prepared.nbytes


class _Preparing:
    """What threads do with an item, and what is said of one that they didn't get done."""

    def __init__(self, job: Job, read: Read) -> None:
        self._job, self._read = job, read
        self._encoder, self._name = job.tower.encoder, job.tower.spec.name

    def do(self, index: int, item: Any) -> Prepared:
        """Prepare it; whatever is raised is that item's error, and no reason to lose the others' work."""
        with float32_by_default():
            prepared = self._prepare(index, item)
        if prepared.error is not None and self._job.on_error == "skip":
            forget_items(prepared.error)
        return prepared

    def late(self, index: int, item: Any) -> Prepared:
        """Give it up."""
        error = late_item(index, describe(item), self._job.limits.wait)
        return Prepared(index, error.source, error=error)

    def lost(self, index: int, item: Any) -> Prepared:
        """Say that nobody knows what became of it."""
        fact = f"encoder {self._name!r} ended the thread that prepared it"
        return Prepared(index, describe(item), error=failed_item(fact, index, describe(item)))

    def _prepare(self, index: int, item: Any) -> Prepared:
        source = describe(item)
        try:
            safe = self._read(item, self._job.limits)
        except BaseException as cause:
            return Prepared(index, source, error=_error("it can't be read", cause, index, source))
        try:
            tensors = self._encoder.preprocess(safe)
            cost = int(self._encoder.cost(tensors))
            nbytes, elements = _sizes(tensors)
        except BaseException as cause:
            fact = f"encoder {self._name!r} can't preprocess it"
            return Prepared(index, source, error=_error(fact, cause, index, source))
        return Prepared(index, source, tensors, cost, nbytes, elements)


def _error(fact: str, cause: BaseException, index: int, source: str) -> InputError:
    """The error of an item: its own where it says what is wrong with it, as readers do."""
    if isinstance(cause, InputError):
        return placed(cause, index, source)
    return failed_item(fact, index, source, cause)


def _sizes(tensors: Tensors) -> tuple[int, int]:
    """The bytes and elements of tensors; a sparse one counts as if it weren't."""
    nbytes = elements = 0
    for tensor in tensors.values():
        count = tensor.numel()
        elements += count
        nbytes += count * tensor.element_size()
    return nbytes, elements
