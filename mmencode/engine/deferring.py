"""An iterable whose error waits until all that came before it is delivered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Deferred(Generic[T]):
    """Iterates a source and keeps what drawing from it raises, for `reraise` to raise later.

    Whoever draws ahead would otherwise lose the good items before a failure. KeyboardInterrupt and the like
    aren't kept: these end the work at once.
    """

    def __init__(self, source: Iterable[T]) -> None:
        self._source: Iterator[T] | None = iter(source)
        self._failure: Exception | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._source is None:
            raise StopIteration
        try:
            return next(self._source)
        except StopIteration:
            self._source = None
            raise
        except Exception as cause:
            self.fail(cause)
            raise StopIteration from None

    def fail(self, cause: Exception) -> None:
        """Keep what was raised, and draw no more."""
        self._source, self._failure = None, cause

    @property
    def exhausted(self) -> bool:
        """Whether the source has nothing more to give, or failed."""
        return self._source is None

    def reraise(self) -> None:
        """Raise what drawing from the source raised, if it raised anything."""
        if self._failure is not None:
            raise self._failure
