"""What a file of vectors holds, and the checks that all formats share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from ...errors import Fault, InputError, MmencodeError
from ...errors.causes import fault_of, message_of

Array = np.ndarray[Any, Any]

_TIMES, _SPARE = 16, 2**20  # a file may take so many times its size of memory, and so many bytes more
_PARTS = ("fact", "source", "remedy", "index", "fault")  # of an error
ARRAYS = ("vectors", "positions", "codes", "low", "high")  # those of embeddings and of codes


@dataclass(frozen=True, eq=False, slots=True)
class Record:
    """What a file holds: arrays by name, one key for each row or None, and facts by name."""

    arrays: Mapping[str, Array]
    facts: Mapping[str, str]
    keys: tuple[str, ...] | None = None

    def array(self, name: str, dtype: type[np.generic]) -> Array:
        """An array that must be there, have this dtype and be finite; ValueError otherwise."""
        if name not in self.arrays:
            raise ValueError(f"its {name} are missing")
        found = self.arrays[name]
        if found.dtype != dtype:
            raise ValueError(f"its {name} are {found.dtype} instead of {np.dtype(dtype)}")
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            place = np.argwhere(~np.isfinite(found))[0]
            raise ValueError(f"its {name} aren't all finite numbers: row {place[0]} has another")
        return found

    def positions(self) -> Array:
        """The places of the rows in their batch, which no one has below 0; ValueError otherwise."""
        found = self.array("positions", np.int64)
        if found.size and found.min() < 0:
            raise ValueError(f"its positions are the rows' places in a batch, and one is {found.min()}")
        return found

    def fact(self, name: str) -> str:
        """A fact that must be there, as words; ValueError otherwise."""
        if name not in self.facts:
            raise ValueError(f"it doesn't say its {name}")
        found = self.facts[name]
        if not isinstance(found, str):
            raise ValueError(f"its {name} is {found!r:.100}, which is no text")
        return found


@contextmanager
def readable(path: str | os.PathLike[str]) -> Iterator[None]:
    """Make an InputError, which names the file, of whatever a library raises on damaged content."""
    try:
        yield
    except MmencodeError:
        raise
    except Exception as cause:  # each library has errors of its own, and bad bytes meet most of them
        raise InputError(
            f"it can't be read: {message_of(cause)}",
            source=os.fspath(path),
            remedy="check the path; a damaged file must be copied or written again",
            fault=fault_of(cause, "content"),
        ) from cause


def errors_to_text(errors: Iterable[InputError]) -> str:
    """Errors as JSON, in ASCII."""
    return json.dumps([{name: getattr(error, name) for name in _PARTS} for error in errors])


def errors_from_text(text: str) -> list[InputError]:
    """What `errors_to_text` was given; ValueError for anything else."""
    found = json.loads(text)
    if type(found) is not list:
        raise ValueError("its errors are no list")
    return [_error(fields) for fields in found]


def _error(fields: Any) -> InputError:
    sound = type(fields) is dict and {"fact", "source"} <= fields.keys() <= set(_PARTS)
    if sound:
        index = fields.get("index")
        sound = all(isinstance(fields.get(name, ""), str) for name in ("fact", "source", "remedy"))
        sound = sound and (index is None or (type(index) is int and index >= 0))
        sound = sound and fields.get("fault", "content") in get_args(Fault)
    if not sound:
        raise ValueError(f"one of its errors is {fields!r:.100}")
    return InputError(**fields)


def require_kind(facts: object, kind: str, source: str) -> dict[str, str]:
    """The facts of a file, whose `format` must be `kind`; InputError otherwise."""
    if not isinstance(facts, dict):
        raise ValueError("its facts are no JSON object")
    if facts.get("format") != kind:
        raise InputError(
            f"it is no file of {kind}: its format is {facts.get('format')!r:.100}",
            source=source,
            remedy="pass a file that the `save` of the same class, or `mmencode encode`, wrote",
        )
    return facts


def require_bounded(unpacked: int, packed: int) -> None:
    """ValueError for a file that would take many times its own size of memory, before it takes it."""
    if unpacked > _TIMES * packed + _SPARE:
        raise ValueError(
            f"it says that it holds {unpacked} bytes, and has {packed}: vectors can't be packed like that, "
            "and it isn't unpacked"
        )
