"""The way of one modality's items to vectors in two steps, for whoever batches those of many callers."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, final

from ..engine.blame import place
from ..engine.call import Call, Part, Prepared, Window
from ..engine.lane import EmbeddingLane, Lane, MultiLane
from ..engine.prepare import make_preparer, prepare_generated
from ..engine.runtime import Runtime
from ..engine.streams import streams
from ..engine.windows import Gathering
from .members import Members


@final
class Pipeline:
    """Reads, preprocesses and embeds the items of one modality in two steps, which `Space.encode` is made of.

    Items of several callers may be prepared in any threads and embedded together: their vectors are those
    that `encode` gives for them in one batch, bit for bit.

    key      of the encoder, "text:query" for that of queries where they have another
    runtime  of the space
    lanes    how many threads embed at once: one for a CPU, two for each CUDA device. More wait for their turn
    """

    runtime: Runtime

    key: str
    lanes: int

    def __init__(self, members: Members, key: str, call: Call) -> None:
        self.key, self.runtime, self._members, self._call = key, call.runtime, members, call
        self._preparer = make_preparer(call)
        self._free: queue.SimpleQueue[Lane[Any, Any]] = queue.SimpleQueue()
        kind: type[Lane[Any, Any]] = EmbeddingLane if members.spec(key).outputs == "one" else MultiLane
        lanes = [kind(call, tower, stream) for tower in call.towers for stream in streams(tower.device)]
        self.lanes = len(lanes)
        for lane in lanes:
            self._free.put(lane)

    def prepare(self, item: Any, source: str = "") -> Prepared:
        """Read and preprocess an item within the space's limits, in this thread; a failure is its `error`.

        `source` names the item in messages, by default its path or kind. The result's `cost` is the work that
        it is, in the unit of its encoder: tokens of a text. `Limits.wait` is left to the caller: nothing ends
        a thread.
        Raises nothing but KeyboardInterrupt.
        """
        try:
            prepared = self._preparer.do(0, item)
        except Exception:  # an object that can't be named, say
            prepared = self._preparer.lose(0, None)
        error = prepared.error
        if error is not None and isinstance(error.__cause__, KeyboardInterrupt):
            raise error.__cause__
        return _name(prepared, source) if source else prepared

    def give_up(self, item: Any, source: str = "") -> Prepared:
        """Make the error of an item that takes longer than `Limits.wait` to prepare, in another thread."""
        prepared = self._preparer.give_up(0, item)
        return _name(prepared, source) if source else prepared

    def embed(self, prepared: Sequence[Prepared]) -> Part[Any]:
        """Compute what was prepared, in batches of like cost: `rows` in order, and `errors` of the others.

        Rows are float32 `[k, dim]`, or a list of `[t, dim]` for each item where these have many vectors.
        `positions` and the `index` of errors are places in this sequence. An item that fails costs no other
        its vector. Waits for a free lane. Raises EncoderError where no item is to blame, DeviceError,
        IdentityError for an encoder that was changed, and ClosedError.
        """
        window = Window([_place(item, index) for index, item in enumerate(prepared)], ends=True)
        lane = self._free.get()
        try:
            self._members.require_open()
            part = lane.compute(window)
        finally:
            self._free.put(lane)
        self._call.require_as_loaded()
        return part

    def gather(self) -> Gathering:
        """Begin to gather prepared items for `embed`: it tells when more would only wait for each other."""
        return Gathering(self._call)

    def warm(self) -> None:
        """Take the modality's probes through both steps, so that the first items find all in place."""
        prepared = list(prepare_generated(self._call))
        if prepared:
            self.embed(prepared[:1])
            self.embed(prepared)


def _name(prepared: Prepared, source: str) -> Prepared:
    if prepared.error is not None:
        prepared.error.source = source
    prepared.source = source
    return prepared


def _place(item: Prepared, index: int) -> Prepared:
    """Copy an item to a place; what fails in a window is noted there."""
    error = item.error and place(item.error, index, item.source)
    return replace(item, index=index, error=error)
