"""The content of a file of vectors, and the checks that all formats share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from ...errors import Fault, InputError, MmencodeError
from ...errors.causes import fault_of, message_of
from ..array_types import Array

_TIMES, _SPARE = 16, 2**20  # the memory that a file may take: 16 times its size, and 1 MiB
_FIELDS = ("fact", "source", "remedy", "index", "fault")  # of an InputError
# In files of embeddings and of codes; `ends` and `items` where an item has many vectors.
ARRAY_NAMES = ("vectors", "positions", "codes", "low", "high", "ends", "items")


@dataclass(frozen=True, eq=False, slots=True)
class Record:
    """The content of a file: arrays by name, texts (facts) by name, and a key for each row or None."""

    arrays: Mapping[str, Array]
    facts: Mapping[str, str]
    keys: tuple[str, ...] | None = None

    def array(self, name: str, dtype: type[np.generic]) -> Array:
        """Take an array by name; ValueError unless it is there, has this dtype and is finite."""
        if name not in self.arrays:
            raise ValueError(f"its {name} are missing")
        found = self.arrays[name]
        if found.dtype != dtype:
            raise ValueError(f"its {name} are {found.dtype} instead of {np.dtype(dtype)}")
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            place = np.argwhere(~np.isfinite(found))[0]
            raise ValueError(f"its {name} aren't all finite numbers: row {place[0]} has one that isn't")
        return found

    def positions(self) -> Array:
        """Take the rows' places in their batch; ValueError for one below 0."""
        found = self.array("positions", np.int64)
        if found.size and found.min() < 0:
            raise ValueError(f"its positions are the rows' places in a batch, and one is {found.min()}")
        return found

    def fact(self, name: str) -> str:
        """Take a fact by name; ValueError unless it is there and is text."""
        if name not in self.facts:
            raise ValueError(f"it doesn't say its {name}")
        found = self.facts[name]
        if not isinstance(found, str):
            raise ValueError(f"its {name} is {found!r:.100}, which is no text")
        return found

    def towers(self) -> dict[str, str]:
        """Take the digests of the rows' towers, by modality; none in a file from before there were any."""
        found = json.loads(self.fact("towers")) if "towers" in self.facts else {}
        if type(found) is not dict or not all(isinstance(digest, str) for digest in found.values()):
            raise ValueError("its towers aren't digests by modality")
        return found

    def widths(self) -> tuple[int, ...]:
        """Take the widths that vectors may be cut to; none in a file that doesn't say them."""
        found = json.loads(self.fact("widths")) if "widths" in self.facts else []
        if type(found) is not list or not all(type(width) is int and width > 0 for width in found):
            raise ValueError("its widths aren't positive numbers")
        return tuple(found)


def widths_to_facts(widths: Sequence[int]) -> dict[str, str]:
    """Write the widths that vectors may be cut to as JSON; no fact where there are none."""
    return {"widths": json.dumps(list(widths))} if widths else {}


def towers_to_facts(towers: Mapping[str, str]) -> dict[str, str]:
    """Write the digests of towers as JSON; no fact where none is known."""
    return {"towers": json.dumps(dict(sorted(towers.items())))} if towers else {}


@contextmanager
def readable(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn any error that a library raises on damaged content into an InputError that names the file."""
    try:
        yield
    except MmencodeError:
        raise
    except Exception as cause:  # libraries raise all sorts of errors on bad bytes
        raise InputError(
            f"it can't be read: {message_of(cause)}",
            source=os.fspath(path),
            remedy="check the path; a damaged file must be copied or written again",
            fault=fault_of(cause, "content"),
        ) from cause


def errors_to_text(errors: Iterable[InputError]) -> str:
    """Write errors of items as JSON, in ASCII."""
    return json.dumps([{name: getattr(error, name) for name in _FIELDS} for error in errors])


def errors_from_text(text: str) -> list[InputError]:
    """Read the JSON that `errors_to_text` wrote; ValueError for any other text."""
    found = json.loads(text)
    if type(found) is not list:
        raise ValueError("its errors aren't a list")
    return [_error_of(fields) for fields in found]


def _error_of(fields: Any) -> InputError:
    sound = type(fields) is dict and {"fact", "source"} <= fields.keys() <= set(_FIELDS)
    if sound:
        index = fields.get("index")
        sound = all(isinstance(fields.get(name, ""), str) for name in ("fact", "source", "remedy"))
        sound = sound and (index is None or (type(index) is int and index >= 0))
        sound = sound and fields.get("fault", "content") in get_args(Fault)
    if not sound:
        raise ValueError(f"one of its errors is {fields!r:.100}, which mmencode doesn't write")
    return InputError(**fields)


def require_kind(facts: object, kind: str, source: str) -> dict[str, str]:
    """Take the facts of a file; InputError, naming the file, unless their `format` is `kind`."""
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
    """Raise ValueError for a file whose content would take memory of many times its own size."""
    if unpacked > _TIMES * packed + _SPARE:
        raise ValueError(
            f"its {packed} bytes would unpack to {unpacked}: vectors don't compress like that, "
            "so it is left packed"
        )
