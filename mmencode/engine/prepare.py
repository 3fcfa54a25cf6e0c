"""Items read and preprocessed, in worker threads, a bounded distance ahead of the forward passes."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Generator
from typing import Any

from ..encoder import Tensors
from ..encoder.notices import keep_notices, without_notices
from ..errors import InputError
from ..inputs import Limits, reader
from ..inputs.composites import describe_parts
from ..inputs.reading import require_limits
from ..inputs.source import describe
from ..isolation.fence import float32_by_default
from ..plugins.core_modalities import CORE
from .blame import forget_items, make_failure, make_late, place
from .call import Call, Prepared
from .feeding import Pace
from .generated import generated_items
from .workers import in_order, with_pauses

Read = Callable[[Any, Limits], Any]

_FAST = 3  # with fast=True a JPEG keeps so many times the pixels that its encoder looks at; 2 is too few
_PAUSE = 0.1  # seconds that the source of a stream may take before what it gave is computed


def prepare_all(call: Call) -> Generator[Prepared | None, None, None]:
    """Read and preprocess the items of a call, in input order; None where their source pauses.

    Gain of the second thread: 1.4 times for photographs of 12 megapixels; with fast=True 2.1 times as fast
    again (tests/benchmarks/gains.py).
    """
    return with_pauses(call.items, make_preparer(call), _pace(call))


def make_preparer(call: Call) -> Preparer:
    """Make what reads and preprocesses a call's items; ValueError for a limit that its modality lacks."""
    least = _FAST * call.tower.encoder.resolution if call.fast else 0
    spec = call.tower.spec
    require_limits(spec.modality, call.limits, spec.parts)
    return Preparer(call, reader(spec.modality, least, parts=spec.parts))


def prepare_generated(call: Call) -> Generator[Prepared, None, None]:
    """Preprocess the probes of the call's modality; none where it declares none."""
    spec = call.tower.spec
    modality, parts = spec.modality, spec.parts
    read = _keep if modality in CORE else reader(modality, parts=parts)  # core's are safe values already
    items = generated_items(modality, parts, call.limits.wait)
    with without_notices():
        preparer = Preparer(call, read, Limits())
    return in_order(items, preparer, _pace(call))


class Preparer:
    """Reads and preprocesses one item at a time; worker threads call it, several at once."""

    def __init__(self, call: Call, read: Read, limits: Limits | None = None) -> None:
        self._read, self._limits = read, call.limits if limits is None else limits
        self._encoder, self._name = call.tower.encoder, call.tower.spec.name
        self._forgets = call.on_error == "skip"
        self._notices = keep_notices()  # of the thread that calls, in those that work for it
        self._describe = describe_parts if call.tower.spec.parts else describe

    def do(self, index: int, item: Any) -> Prepared:
        """Prepare an item; whatever its reader or its encoder raises becomes the item's error."""
        with float32_by_default(), self._notices():
            prepared = self._prepare(index, item)
        if prepared.error is not None and self._forgets:
            forget_items(prepared.error)
        return prepared

    def _prepare(self, index: int, item: Any) -> Prepared:
        source = self._describe(item)
        try:
            safe = self._read(item, self._limits)
        except BaseException as cause:
            return Prepared(index, source, error=_error_of("it can't be read", cause, index, source))
        try:
            tensors = self._encoder.preprocess(safe)
            cost = int(self._encoder.cost(tensors))
            nbytes, elements = _sizes(tensors)
        except BaseException as cause:
            fact = f"encoder {self._name!r} can't preprocess it"
            return Prepared(index, source, error=_error_of(fact, cause, index, source))
        return Prepared(index, source, tensors, cost, nbytes, elements)

    def give_up(self, index: int, item: Any) -> Prepared:
        """Make the error of an item that takes longer than `Limits.wait`."""
        source = self._describe(item)
        return Prepared(index, source, error=make_late(index, source, self._limits.wait))

    def lose(self, index: int, item: Any) -> Prepared:
        """Make the error of an item whose preprocessing ended the thread it ran in."""
        source = self._describe(item)
        fact = f"encoder {self._name!r} ended the thread that prepared it"
        return Prepared(index, source, error=make_failure(fact, index, source))

    def weigh(self, prepared: Prepared) -> int:
        """Count the bytes that a prepared item holds."""
        return prepared.nbytes


def _pace(call: Call) -> Pace:
    return Pace(
        seconds=call.limits.wait,
        threads=call.runtime.workers,
        cores=call.runtime.cores,
        ahead=call.runtime.window_items,
        nbytes=call.runtime.window_bytes,
        chunk=call.chunk,
        pause=math.inf if call.chunk == sys.maxsize else _PAUSE,
        stragglers=call.stragglers,
    )


def _keep(item: Any, limits: Limits) -> Any:
    """Take the place of a reader for items that are safe values already."""
    return item


def _error_of(fact: str, cause: BaseException, index: int, source: str) -> InputError:
    """Make an item's error of what was raised: an InputError says itself what is wrong with the item."""
    if isinstance(cause, InputError):
        return place(cause, index, source)
    return make_failure(fact, index, source, cause)


def _sizes(tensors: Tensors) -> tuple[int, int]:
    """The bytes and the elements of tensors; a sparse one counts as if it were dense."""
    nbytes = elements = 0
    for tensor in tensors.values():
        count = tensor.numel()
        elements += count
        nbytes += count * tensor.element_size()
    return nbytes, elements
