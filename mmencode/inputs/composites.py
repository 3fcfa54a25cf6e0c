"""Items with parts of several modalities, of which each is read by its own modality's reader and limits."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, final

import numpy as np
from PIL import Image

from ..errors import InputError
from ..plugins.composites import join_parts
from .limits import Limits, limit_remedy
from .source import describe
from .waveform import Waveform

Read = Callable[[Any, Limits], Any]

_SHOWN = 4  # parts of an item that messages describe
_MOST = 4096  # parts of an interleaved item


class PartsReader(ABC):
    """The reader of items that have parts; threads call it, several at once."""

    def __init__(self, readers: Sequence[tuple[str, Read]]) -> None:
        self._readers = tuple(readers)
        self._parts = tuple(modality for modality, _ in readers)

    @abstractmethod
    def __call__(self, item: Any, limits: Limits) -> Any:
        """Read all parts of an item; InputError, which names the part, for one that can't be read."""


@final
class CompositeReader(PartsReader):
    """The reader of items whose parts have an order: a tuple, with None for an absent part."""

    def __call__(self, item: Any, limits: Limits) -> tuple[Any, ...]:
        """Read the parts into a tuple, with None where one is absent."""
        expected = f"pass tuples ({', '.join(self._parts)}), with None for an absent part"
        if not isinstance(item, tuple):
            name = join_parts(self._parts)
            raise _error(f"{type(item).__name__} is no tuple of the parts of {name}", item, expected)
        given = tuple(item)
        if len(given) != len(self._parts):
            raise _error(f"it has {_count(len(given))}, and not {len(self._parts)}", item, expected)
        if all(part is None for part in given):
            raise _error("all of its parts are absent", item, "leave it out, or give one of its parts")
        order = f"the parts are ({', '.join(self._parts)}), in this order" if len(given) > 1 else ""
        room = _Room(limits)
        return tuple(
            None if part is None else room.read(place, modality, read, part, order)
            for place, ((modality, read), part) in enumerate(zip(self._readers, given, strict=True))
        )


@final
class InterleavedReader(PartsReader):
    """The reader of items whose parts come in any number and order: a list of (modality, part) pairs."""

    def __call__(self, item: Any, limits: Limits) -> list[tuple[str, Any]]:
        """Read the parts into a list of (modality, value) pairs."""
        first = self._parts[0]
        expected = f'pass lists of (modality, part) pairs: [("{first}", ...)]'
        if not isinstance(item, list | tuple):
            raise _error(f"{type(item).__name__} is no list of (modality, part) pairs", item, expected)
        given = list(item)
        if not given:
            raise _error("it has no parts", item, f"leave it out, or {expected}")
        if len(given) > _MOST:
            raise _error(f"it has {len(given)} parts, and {_MOST} are the most", item, "split it")
        readers, room = dict(self._readers), _Room(limits)
        found: list[tuple[str, Any]] = []
        for place, pair in enumerate(given):
            if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
                raise _error(f"part {place}: it is no (modality, part) pair", pair, expected)
            modality, part = pair
            if modality not in readers:
                taken = f"the encoder takes {', '.join(self._parts)}"
                raise _error(f"part {place}: there is no {modality[:80]!r} in its items", part, taken)
            if part is None:
                raise _error(f"part {place} ({modality}): it is absent", part, "leave its pair out")
            found.append((modality, room.read(place, modality, readers[modality], part)))
        return found


class _Room:
    """The memory that the parts of one item take, which are held together, within the limit for one item."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    def read(self, place: int, modality: str, read: Read, part: Any, hint: str = "") -> Any:
        """Read one part; its InputError says which one it is."""
        try:
            found = read(part, self._limits)
            self._hold(found, part)
        except InputError as cause:
            error = copy.copy(cause)  # a reader may raise one object several times
            error.__cause__, error.__traceback__ = cause.__cause__, cause.__traceback__
            error.fact = f"part {place} ({modality}): {cause.fact}"
            error.args = (error.fact,)
            error.source = cause.source or describe(part)
            error.remedy = "; ".join(filter(None, (cause.remedy, hint)))
            raise error from cause.__cause__
        return found

    def _hold(self, value: Any, part: Any) -> None:
        self._held += size_of_value(value)
        if self._held > self._limits.memory:
            raise InputError(
                f"with the parts before it takes {self._held} bytes of memory, and the limit is "
                f"{self._limits.memory}",
                source=describe(part),
                remedy=limit_remedy("memory", self._held),
                fault="limit",
            )


def size_of_value(value: Any) -> int:
    """The memory that a value which a reader gave takes; 0 for values of plugins that don't say `nbytes`."""
    if isinstance(value, Image.Image):
        return value.width * value.height * len(value.getbands())
    if isinstance(value, Waveform):
        return int(value.samples.nbytes)
    if isinstance(value, str | bytes):
        return len(value)
    nbytes = getattr(value, "nbytes", 0)
    return int(nbytes) if isinstance(nbytes, int | np.integer) else 0


def describe_parts(item: Any) -> str:
    """Name an item with parts for messages, by those that it has; never raises, nor runs the item's code."""
    if type(item) not in (list, tuple):
        return describe(item)
    shown = [describe(part) for part in _each_part(item[: 2 * _SHOWN])]
    if not shown:
        return describe(item)
    return " + ".join(shown[:_SHOWN]) + (" + ..." if len(shown) > _SHOWN or len(item) > 2 * _SHOWN else "")


def _each_part(item: Iterable[Any]) -> Iterator[Any]:
    for part in item:
        if type(part) is tuple and len(part) == 2 and type(part[0]) is str:
            yield part[1]
        elif part is not None:
            yield part


def _count(number: int) -> str:
    return "1 part" if number == 1 else f"{number} parts"


def _error(fact: str, item: Any, remedy: str) -> InputError:
    return InputError(fact, source=describe_parts(item), remedy=remedy)
