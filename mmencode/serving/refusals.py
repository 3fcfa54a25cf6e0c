"""Errors of a whole request, beside those of its items: each says how to answer it over HTTP.

```
Refusal              the request isn't answered                      status
├── QueueFullError   too many items, or bytes, of clients wait       429
├── TooLateError     it wasn't its turn in the time that it has      504
├── NotReadyError    the encoder of a modality isn't loaded yet      503
├── StoppedError     the service stops, or doesn't run yet           503
├── BatchError       what computed its batch failed                  500
└── GoneError        its client left                                 499
```
"""

from __future__ import annotations

from ..errors import MmencodeError


class Refusal(MmencodeError):
    """A request that isn't answered; `status` is HTTP's, `retry_after` the seconds after which to ask again.

    `retry_after` is None where asking again doesn't help.
    """

    status = 500

    def __init__(self, fact: str, *, remedy: str = "", retry_after: float | None = None) -> None:
        super().__init__(fact, remedy=remedy)
        self.retry_after = retry_after


class QueueFullError(Refusal):
    """More items, or bytes of items, of all clients wait than the service holds."""

    status = 429


class TooLateError(Refusal):
    """A request wasn't answered within the time that it has."""

    status = 504


class NotReadyError(Refusal):
    """The encoder of a modality is still loading, or can't be loaded."""

    status = 503


class StoppedError(Refusal):
    """The service stops, or was never started."""

    status = 503


class BatchError(Refusal):
    """An exception ended the batch that a request's item was in; the items needn't be at fault."""

    status = 500


class GoneError(Refusal):
    """The client of a request left before its turn came."""

    status = 499
