"""Requests, their items, and the order in which these have their turn."""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..embeddings.array_types import Vectors
from ..engine.call import Prepared
from ..engine.windows import Gathering
from ..errors import InputError, MmencodeError
from ..inputs.owning import size_in_bytes
from ..plugins.composites import INTERLEAVED, parts_of
from ..plugins.modalities import find_modality
from ..spaces.sides import Role
from .refusals import GoneError, Refusal, TooLateError


@dataclass(frozen=True, slots=True)
class Ask:
    """One item of a request, as `Space.encode` takes it; `source` is its name in messages."""

    modality: str
    item: Any
    role: Role = ""
    source: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Answer:
    """The vector of an item, float32 `[dim]`, or `[t, dim]` where its space has many, or else its error.

    `cost` is what the item counts as in usage, by `Encoder.cost`: tokens of a text.
    """

    vector: Vectors | None
    error: MmencodeError | None
    cost: int


@dataclass(eq=False, slots=True)
class Held:
    """The prepared items of a request that wait for its others, so that they share a batch.

    left  items of the request and this encoder that aren't prepared yet
    """

    left: int = 0
    items: list[Item] = field(default_factory=list)
    gathering: Gathering | None = None


class Request:
    """The items of one request, until each has its answer or the request is refused as a whole."""

    client: str
    answered: asyncio.Future[list[Answer]]
    began: float
    deadline: float
    left: int

    def __init__(
        self,
        asks: Sequence[Ask],
        client: str,
        seconds: float,
        is_gone: Callable[[], bool] | None,
        answered: asyncio.Future[list[Answer]],
    ) -> None:
        self.client, self.answered = client, answered
        self.began = time.monotonic()
        self.deadline = self.began + seconds
        self.answers: list[Answer | None] = [None] * len(asks)
        self.left = len(asks)
        self.refusal: Refusal | None = None
        self.is_finished = False
        self.held: dict[str, Held] = {}
        self._is_gone = is_gone

    def refuse(self, refusal: Refusal) -> None:
        """Refuse the request as a whole, whatever becomes of its other items; the first reason counts."""
        self.refusal = self.refusal or refusal

    def is_over(self) -> bool:
        """Whether nobody waits for the request any more: it was refused, is too late, or its client left."""
        if self.refusal is None and time.monotonic() > self.deadline:
            self.refuse(_too_late())
        if self.refusal is None and self._ask():
            self.refuse(GoneError("the client left"))
        return self.refusal is not None

    def _ask(self) -> bool:
        try:
            return self._is_gone is not None and self._is_gone()
        except Exception:  # whoever can't say is there
            return False

    def expire(self) -> None:
        """Refuse the request since it took too long, and say so to whoever waits; in the loop's thread."""
        self.refuse(_too_late())
        self.finish()

    def finish(self) -> None:
        """Hand the answers, or the refusal, to whoever waits for them, in the thread of the event loop."""
        if self.answered.done():
            return
        if self.refusal is not None:
            self.answered.set_exception(self.refusal)
        else:
            self.answered.set_result([answer for answer in self.answers if answer is not None])


def _too_late() -> TooLateError:
    return TooLateError("the request wasn't answered in time", remedy="ask for fewer items")


@dataclass(eq=False, slots=True)
class Item:
    """One item on its way: as it came, then prepared; `nbytes` is what it takes at the time."""

    request: Request
    place: int
    ask: Ask | None
    source: str
    key: str
    nbytes: int
    prepared: Prepared | None = None


@dataclass(eq=False, slots=True)
class Turns:
    """Waiting items: those of one client oldest first, and one of each client in turn."""

    count: int = 0
    nbytes: int = 0
    _lines: OrderedDict[str, deque[Item]] = field(default_factory=OrderedDict)

    def put(self, item: Item) -> None:
        """Put an item behind those of its client."""
        self._lines.setdefault(item.request.client, deque()).append(item)
        self.count += 1
        self.nbytes += item.nbytes

    def take(self) -> Item:
        """Take the item whose turn it is, and put its client behind the others."""
        client, line = next(iter(self._lines.items()))
        item = line.popleft()
        if line:
            self._lines.move_to_end(client)
        else:
            del self._lines[client]
        self.count -= 1
        self.nbytes -= item.nbytes
        return item

    @property
    def began(self) -> float:
        """The time at which the oldest of them came."""
        return min(line[0].request.began for line in self._lines.values())


def weigh(item: Any) -> int:
    """Count the bytes that an item takes, as it came."""
    return len(item) if isinstance(item, str) else size_in_bytes(item)


def require_no_path(modality: str, item: Any) -> None:
    """Raise InputError for a str that would be the path of a file of the server's."""
    parts = [modality]
    items = [item]
    if modality == INTERLEAVED:
        parts, items = [part for part, _ in item], [value for _, value in item]
    elif named := parts_of(modality):
        parts, items = list(named), list(item)
    for part, value in zip(parts, items, strict=False):
        spec = find_modality(part)
        if spec is not None and spec.names_files and isinstance(value, str | os.PathLike):
            raise InputError(
                f"a server opens no path for items of modality {part!r}",
                source=f"an item of modality {modality!r}",
                remedy="send the bytes themselves",
            )
