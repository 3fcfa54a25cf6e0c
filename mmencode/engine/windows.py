"""Windows of consecutive items, and the batches of like cost that each is cut into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .budget import Budget
from .call import Call, Prepared, Window
from .deferring import Deferred
from .runtime import Runtime

# A window that holds so many batches is computed while threads prepare the next one: a single batch where its
# items are alike, and more where sorting them by cost saves padding. What takes fewer bytes than this is
# prepared so fast that nothing is gained by beginning early.
_BATCHES = 4
_WORTH = 2**19


def gather_windows(call: Call, prepared: Iterable[Prepared | None]) -> Iterator[Window]:
    """Gather consecutive items into windows: enough for full batches, and no more than may be held at once.

    With on_error="raise" the first bad item ends them. What drawing an item raises is raised after the window
    of the items before it.
    """
    source = Deferred(prepared)
    gathered = Gathering(call)
    for item in source:
        if item is None:  # there is time to compute what has come so far
            if gathered.items:
                yield Window(gathered.items, call.live)
                gathered = Gathering(call)
            continue
        if item.error is not None and call.on_error == "raise":
            if gathered.items:  # one of these may fail later on the way, and comes first
                yield Window(gathered.items, True)
            yield Window([item], True)
            return
        gathered.add(item)
        ends = (item.index + 1) % call.chunk == 0
        if ends or gathered.is_full():
            yield Window(gathered.items, ends)
            gathered = Gathering(call)
    if gathered.items:
        yield Window(gathered.items, True)
    source.reraise()


class Gathering:
    """The items that make the next window."""

    def __init__(self, call: Call) -> None:
        self.items: list[Prepared] = []
        self._call = call
        self._nbytes = 0
        self._batches = 0.0  # that these items fill
        self._alike = True  # whether all of them cost the same

    def add(self, item: Prepared) -> None:
        """Put an item behind the others."""
        self._alike = self._alike and (not self.items or item.cost == self.items[0].cost)
        self.items.append(item)
        self._nbytes += item.nbytes
        self._batches += 1 / self._call.tower.budget.items(item.elements, self._call.runtime)

    def is_full(self) -> bool:
        """Tell whether these should be computed while threads prepare the next ones."""
        runtime = self._call.runtime
        if len(self.items) >= runtime.window_items or self._nbytes >= runtime.window_bytes:
            return True
        return self._nbytes >= _WORTH and self.fills_batches()

    def fills_batches(self) -> bool:
        """Tell whether more items would only make more batches, and pad none of these less."""
        enough = 1 if self._alike else _BATCHES
        return self._batches > enough - 1e-6  # a batch is a sum of fractions


def cut_batches(items: Iterable[Prepared], budget: Budget, runtime: Runtime) -> Iterator[list[Prepared]]:
    """Cut a window's good items into batches of like cost, none over what the runtime and the budget allow.

    Gain: 1.4 times for captions, by less padding (tests/benchmarks/gains.py).
    """
    batch: list[Prepared] = []
    for item in sorted((item for item in items if item.tensors is not None), key=lambda item: item.cost):
        if batch and len(batch) >= budget.items(item.elements, runtime):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
