"""Calls of the engine on behalf of a space: begun, checked, and their parts delivered as they are done."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ..embeddings.array_types import Vectors
from ..embeddings.multi import MultiEmbeddings
from ..engine import engine
from ..engine.call import Call, OnError, OnFailure, Part
from ..engine.lane import Lane, MultiLane
from ..engine.parts import join_deliveries
from ..engine.progress import show_progress
from ..engine.runtime import Auto, Runtime
from ..engine.threads import Stragglers
from ..inputs import Limits
from ..inputs.batches import as_iterable, check_on_error, require_many
from ..plugins.spec import modality_of_key
from .late import MultiCollector
from .members import Members

_CHUNK = 1024  # items of a part of a stream
_MANY = 128  # of a stream of many vectors


def split_blank(on_error: OnFailure) -> tuple[OnError, bool]:
    """Say what the engine does with items that fail, and whether they get blank rows afterwards.

    ValueError for another word than "raise", "skip" and "blank".
    """
    if on_error not in ("raise", "skip", "blank"):
        raise ValueError(f'on_error is {on_error!r}: make it "raise", "skip" or "blank"')
    return ("skip", True) if on_error == "blank" else (on_error, False)


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of one space: its encoders, with the runtime and the limits that they compute within."""

    members: Members
    runtime: Runtime
    limits: Limits
    fast: bool
    stragglers: Stragglers

    @contextmanager
    def begin(
        self,
        modality: str,
        items: Iterable[Any],
        on_error: OnError,
        progress: bool,
        chunk: int | Auto = sys.maxsize,
        auto: int = _CHUNK,
    ) -> Iterator[Call]:
        """Begin a call of the engine, with a progress bar for as long as it takes."""
        check_on_error(on_error)
        call = self.open(modality)
        drawn = as_iterable(items)
        with show_progress(progress, f"encode {modality}", drawn) as advance:
            yield replace(
                call,
                items=drawn,
                on_error=on_error,
                advance=advance,
                chunk=auto if chunk == "auto" else chunk,
                live=chunk == "auto",
            )

    def open(self, key: str) -> Call:
        """Make a call of the engine without items, whose failures are skipped."""
        self.runtime.after_fork()
        towers = self.members.towers(key)
        self.members.widths(key)  # before somebody closes the space
        return Call(
            towers,
            (),
            self.runtime,
            self.limits,
            "skip",
            _ignore,
            chunk=sys.maxsize,
            fast=self.fast,
            stragglers=self.stragglers,
        )

    def require_stream(
        self, key: str, items: Iterable[Any], chunk: int | Auto, on_error: str, outputs: str = "one"
    ) -> None:
        """Raise what is wrong with a call when it is made, rather than when its first result is asked for."""
        if chunk != "auto" and not chunk >= 1:
            raise ValueError(f'chunk is {chunk!r}: make it a positive int or "auto"')
        require_many(modality_of_key(key), items)
        check_on_error(on_error)
        self.members.require_outputs(key, outputs)
        self.members.towers(key)

    def deliver(
        self,
        kind: type[Lane[Vectors, Any]],
        modality: str,
        items: Iterable[Any],
        chunk: int | Auto,
        on_error: OnError,
        progress: bool,
    ) -> Iterator[Part[Vectors]]:
        """Run a call of the engine and yield its parts, each as soon as it is complete."""
        with (
            self.begin(modality, items, on_error, progress, chunk) as call,
            closing(engine.run(call, kind)) as parts,
        ):
            for part in join_deliveries(parts):
                call.require_as_loaded()
                yield part

    def deliver_multi(
        self,
        collector: MultiCollector,
        key: str,
        items: Iterable[Any],
        chunk: int | Auto,
        on_error: OnError,
        progress: bool,
    ) -> Iterator[MultiEmbeddings]:
        """Run a call of the engine and yield its parts of many vectors, each as soon as complete."""
        with (
            self.begin(key, items, on_error, progress, chunk, _MANY) as call,
            closing(engine.run(call, MultiLane)) as parts,
        ):
            for part in collector.deliver(parts):
                call.require_as_loaded()
                yield part


def _ignore(done: int, failed: int) -> None:
    """Take the place of a progress bar."""
