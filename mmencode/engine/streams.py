"""Streams of a CUDA device, and the turns that forward passes take on it.

Two lanes share a device, each in a thread and on a stream of its own, so that the copies of one overlap with
the pass of the other. The passes themselves take turns: one alone fills the device.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

import torch


def streams(device: torch.device) -> tuple[torch.cuda.Stream | None, ...]:
    """Two streams of a CUDA device, always the same ones; elsewhere one that is none.

    torch keeps freed memory, and cuBLAS its workspaces, for each stream by itself: with new streams for each
    call they would fill the device.
    """
    return _turns(device).streams if device.type == "cuda" else (None,)


def take_turn(device: torch.device) -> AbstractContextManager[None]:
    """Wait for the turn to compute on a device, in this thread and on its current stream.

    Passes of CPUs don't wait for each other, and those of other devices are on one stream as it is.
    """
    return _turns(device).take() if device.type == "cuda" else nullcontext()


@functools.cache
def _turns(device: torch.device) -> Turns:
    return Turns(device)


class Turns:
    """Forward passes on one CUDA device, one behind the other, whatever threads and streams they are on.

    Two at once would need the memory of both, so that an item could fail for lack of memory that fits alone.
    And what an encoder makes on one stream and keeps, such as a table of positions up to the longest text so
    far, would be read on another stream before it is there.
    """

    streams: tuple[torch.cuda.Stream, ...]

    def __init__(self, device: torch.device) -> None:
        self.streams = tuple(torch.cuda.Stream(device) for _ in range(2))  # type: ignore[no-untyped-call]
        self._device = device
        self._lock = threading.RLock()
        self._last: torch.cuda.Event | None = None

    @contextmanager
    def take(self) -> Iterator[None]:
        """Have this stream wait for the pass before, and the next pass for what is computed in the block."""
        with self._lock:
            stream = torch.cuda.current_stream(self._device)
            if self._last is not None:
                stream.wait_event(self._last)
            try:
                yield
            except BaseException:
                with suppress(RuntimeError):  # of a device that doesn't work any more; the first error counts
                    self._last = stream.record_event()
                raise
            self._last = stream.record_event()
