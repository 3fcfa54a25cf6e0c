"""One call of a space: what is to be encoded, with what, and the items on their way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from ..embeddings.array_types import Positions
from ..encoder import Tensors
from ..errors import InputError
from ..inputs import Limits
from .runtime import Runtime
from .threads import Stragglers
from .towers import Tower

T = TypeVar("T")
OnError = Literal["raise", "skip"]
Advance = Callable[[int, int], None]


@dataclass(slots=True)
class Record:
    """What became of a call so far: `worked` once anything was computed."""

    worked: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Job:
    """One call: what to encode with what, and whom to tell; `advance(done, failed)` is called as it goes.

    There is a tower for each device, all alike. A part of the result never reaches over a multiple of
    `chunk` items; with `live` one also ends where the source of the items pauses. A job that isn't `judged`
    takes each failure for the item's own.
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
    judged: bool = True
    record: Record = field(default_factory=Record)
    stragglers: Stragglers = field(default_factory=Stragglers)

    @property
    def tower(self) -> Tower:
        """Any of them."""
        return self.towers[0]


@dataclass(slots=True)
class Prepared:
    """One item after preprocessing: its tensors, or why there are none; `source` says what it was.

    `nbytes` is the memory that its tensors take, `elements` how many numbers they hold: the work that it is,
    whatever type these travel in.
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
    """Consecutive items that are computed together; after one that `ends`, what there is is delivered."""

    items: list[Prepared]
    ends: bool


@dataclass(frozen=True, eq=False, slots=True)
class Part(Generic[T]):
    """What became of consecutive items: a row for each at `positions`, an error for each other one.

    What there is up to a part that `ends` is delivered at once.
    """

    count: int
    rows: T
    positions: Positions
    errors: list[InputError]
    ends: bool = False
