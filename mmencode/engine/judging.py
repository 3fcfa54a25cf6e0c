"""Whether items that failed are to blame for it, or their encoder is, or this process."""

from __future__ import annotations

from contextlib import closing
from typing import Any, Protocol

from ..errors import InputError
from .attempt import Attempt
from .blame import DOUBTFUL, are_alike, forget_items, is_lacking, make_encoder_error
from .call import Call, Part, Window
from .prepare import prepare_generated
from .towers import Tower


class Defendant(Protocol):
    """A lane, as its judge sees it: it may be asked to compute items that are known to be good."""

    call: Call
    tower: Tower

    def compute(self, window: Window, *, judged: bool = True) -> Part[Any]:
        """Turn a window of prepared items into rows; unjudged, each failure is the item's own."""
        ...


class Judge:
    """Decides about one attempt at a window: its errors are the items', or one EncoderError is raised."""

    def __init__(self, lane: Defendant, attempt: Attempt[Any]) -> None:
        self._lane, self._attempt = lane, attempt
        self._told = 0  # items that the caller knows to be computed
        self._asked = False
        self._works: bool | None = None  # whether generated items are computed; None where nobody knows

    def follow(self) -> None:
        """Tell the caller how far the attempt is; where nothing of it worked yet, doubt the encoder."""
        computed = len(self._attempt.computed)
        self._lane.call.advance(computed - self._told, 0)
        self._told = computed
        if not computed:
            self._doubt()

    def settle(self) -> None:
        """Raise EncoderError where no item is to blame, and the first error where the call asks for it."""
        call, attempt = self._lane.call, self._attempt
        good = len(attempt.order())
        attempt.errors.sort(key=lambda error: error.index or 0)
        if attempt.errors and not good:
            self._doubt()
            self._doubt_once_more()
        if attempt.errors and call.on_error == "raise":
            raise attempt.errors[0]
        for error in attempt.errors:
            forget_items(error)
        call.record.worked = call.record.worked or good > 0
        call.advance(len(attempt.items) - len(attempt.computed), len(attempt.errors))

    def _doubt(self) -> None:
        """Raise EncoderError where generated items, known to be good, fail as well as all so far."""
        doubtful = self._doubtful()
        if doubtful and not self._asked:
            self._asked = True
            self._works, failure = self._try_generated()
            if failure is not None:
                raise make_encoder_error(self._lane.tower.spec.name, doubtful, failure)

    def _doubt_once_more(self) -> None:
        """Raise EncoderError where several items failed alike and nothing speaks for the encoder.

        There are no generated items of its modality, or it refuses them; or this process lacks something that
        these don't need.
        """
        doubtful = self._doubtful()
        unknown = self._works is None and not self._lane.call.record.worked
        if are_alike(doubtful) and (unknown or is_lacking(doubtful)):
            raise make_encoder_error(self._lane.tower.spec.name, doubtful)

    def _doubtful(self) -> list[InputError]:
        return [error for error in self._attempt.errors if error.fault in DOUBTFUL]

    def _try_generated(self) -> tuple[bool | None, InputError | None]:
        """Compute generated items: whether one works, and else an error; None where that says nothing."""
        failure: InputError | None = None
        with closing(prepare_generated(self._lane.call)) as prepared:
            for item in prepared:
                part = self._lane.compute(Window([item], ends=False), judged=False)
                if len(part.positions):
                    return True, None
                failure = failure or next((e for e in part.errors if e.fault in DOUBTFUL), None)
        return (None if failure is None else False), failure
