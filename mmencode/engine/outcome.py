"""What became of a window's items, and whether those that failed are to blame for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from ..embeddings.array_types import Positions
from ..errors import InputError
from .blame import DOUBTFUL, are_alike, broken, failed_item, forget_items, is_lacking
from .job import Job, Part, Prepared, Record
from .preparing import prepare_safe
from .probes import probes

Compute = Callable[[Job, list[Prepared]], Part[Any]]


class Outcome:
    """Which items of a window were computed, in which order, and what is wrong with the others.

    `compute` is what computes a window; it is asked again where the encoder itself is in doubt.
    """

    def __init__(self, job: Job, compute: Compute, window: list[Prepared]) -> None:
        self.window = window
        self.computed: list[Prepared] = []
        self.errors = [item.error for item in window if item.error is not None]
        self._job, self._compute = job, compute
        self._works: bool | None = None  # whether generated items are; None where nobody knows
        self._asked = not job.judged

    def blame(self, row: int, fact: str) -> None:
        """Note what is wrong with a computed row."""
        item = self.computed[row]
        item.error = failed_item(fact, item.index, item.source)
        self.errors.append(item.error)

    def settle(self) -> list[int]:
        """The computed rows that are good, in input order; the first error is raised if that is asked for.

        EncoderError where none is, and the items aren't to blame.
        """
        job = self._job
        good = [row for row, item in enumerate(self.computed) if item.error is None]
        self.errors.sort(key=lambda error: error.index or 0)
        if self.errors and not good:
            self.doubt()
            self._doubt_once_more()
        if self.errors and job.on_error == "raise":
            raise self.errors[0]
        for error in self.errors:
            forget_items(error)
        job.record.worked = job.record.worked or bool(good)
        job.advance(len(self.window) - len(self.computed), len(self.errors))
        return sorted(good, key=lambda row: self.computed[row].index)

    def doubt(self) -> None:
        """Raise EncoderError where generated items, known to be good, fail as well as all so far."""
        doubtful = self._doubtful()
        if doubtful and not self._asked:
            self._asked = True
            self._works, failure = self._ask_generated()
            if failure is not None:
                raise broken(self._job.tower.spec.name, doubtful, failure)

    def _doubt_once_more(self) -> None:
        """Raise EncoderError where several items failed alike and nothing speaks for the encoder.

        There are no generated items of its modality, or it refuses them; or this process lacks something that
        these don't need.
        """
        doubtful = self._doubtful()
        unknown = self._works is None and not self._job.record.worked
        if self._job.judged and are_alike(doubtful) and (unknown or is_lacking(doubtful)):
            raise broken(self._job.tower.spec.name, doubtful)

    def _doubtful(self) -> list[InputError]:
        return [error for error in self.errors if error.fault in DOUBTFUL]

    def _ask_generated(self) -> tuple[bool | None, InputError | None]:
        """Whether a generated item is computed, and the error of one if not; None where that says nothing."""
        job = replace(
            self._job,
            items=probes(self._job.tower.spec.modality),
            on_error="skip",
            advance=_tell_nobody,
            judged=False,
            record=Record(),
        )
        failure: InputError | None = None
        with closing(prepare_safe(job)) as prepared:
            for item in prepared:
                part = self._compute(job, [item])
                if len(part.positions):
                    return True, None
                failure = failure or next((e for e in part.errors if e.fault in DOUBTFUL), None)
        return (None if failure is None else False), failure

    def positions(self, order: list[int]) -> Positions:
        """The places in the input of these computed rows."""
        return np.array([self.computed[row].index for row in order], np.int64)


def _tell_nobody(done: int, failed: int) -> None:
    """Take no notice."""
