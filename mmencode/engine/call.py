"""One call of a space: what is to be encoded and with what, and the items and rows on their way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from ..arguments.brief import Brief
from ..embeddings.array_types import Positions
from ..encoder import Tensors
from ..errors import InputError
from ..inputs import Limits
from .runtime import Runtime
from .threads import Stragglers
from .towers import Tower

T = TypeVar("T")
OnError = Literal["raise", "skip"]
OnFailure = Literal["raise", "skip", "blank"]  # "blank" is "skip" with blank rows put in afterwards
Advance = Callable[[int, int], None]


@dataclass(slots=True)
class Record:
    """A note, kept during one call, of whether any item of it was computed yet."""

    worked: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """One call of a space; `advance(done, failed)` is called as it goes.

    There is a tower for each device, all alike. A part of the result never reaches over a multiple of
    `chunk` items; with `live` one also ends where the source of the items pauses.
    """

    towers: tuple[Tower, ...]
    items: Iterable[Any]
    runtime: Runtime
    limits: Limits
    on_error: OnError
    advance: Advance
    chunk: int
    fast: bool = False
    live: bool = False
    record: Record = field(default_factory=Record)
    stragglers: Stragglers = field(default_factory=Stragglers)

    @property
    def tower(self) -> Tower:
        """The tower on the first device, whose copies on other devices give the same vectors."""
        return self.towers[0]

    @property
    def total(self) -> int | None:
        """The number of items; None where their iterable doesn't say."""
        return len(self.items) if isinstance(self.items, Sized) else None

    def require_as_loaded(self) -> None:
        """Raise IdentityError where a network was changed since it was loaded, and its vectors with it."""
        for tower in self.towers:
            tower.require_as_loaded()


@dataclass(slots=True)
class Prepared:
    """One item after preprocessing: its tensors, or the error that it has instead.

    `source` describes the item in messages. `nbytes` is the memory that its tensors take; `elements` is how
    many numbers they hold, which is the work that it is, whatever type these travel in.
    """

    index: int
    source: str = ""
    tensors: Tensors | None = None
    cost: int = 0
    nbytes: int = 0
    elements: int = 0
    error: InputError | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Window:
    """Consecutive prepared items that are computed together; one that `ends` completes a delivery."""

    items: list[Prepared]
    ends: bool


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Part(Brief, Generic[T]):
    """The result of consecutive items: rows at `positions` of the input, an error for each other item.

    All parts up to one that `ends` are delivered together.
    """

    count: int
    rows: T
    positions: Positions
    errors: list[InputError]
    ends: bool = False
