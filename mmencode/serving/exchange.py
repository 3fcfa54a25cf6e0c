"""One request and its answer, as far as the parts of the server tell each other about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import Any

_KEY = "mmencode.exchange"
SPACE_HEADER = "X-Mmencode-Space"
REQUEST_HEADER = "X-Request-Id"


@dataclass(slots=True)
class Exchange:
    """The state of one request, which lives in its ASGI scope.

    request_id   the client's own where it sent a plain one, else made here
    client       who asks: a digest of the key, or else the address
    expected     the id of the space that the client expects, "" for any
    space        the id of the space whose vectors the answer has, "" until it is known
    is_gone      whether the client has left
    error        the code of the error that was answered, "" for none
    """

    request_id: str
    client: str = ""
    expected: str = ""
    space: str = ""
    is_gone: bool = False
    error: str = ""
    started: float = field(default_factory=monotonic)

    def has_left(self) -> bool:
        """Whether the client has left, asked in any thread."""
        return self.is_gone

    def enter(self, scope: Any) -> None:
        """Put the exchange into a request's scope."""
        scope[_KEY] = self

    @staticmethod
    def of(scope: Any) -> Exchange:
        """Find the exchange of a request by its scope."""
        found = scope[_KEY]
        assert isinstance(found, Exchange)
        return found
