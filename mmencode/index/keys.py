"""Which keys a table may have, remembered, so that new ones needn't be looked up in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .latest import State

Hashes = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


class Keys:
    """The hashes of all keys of a table in one state; two keys may share one."""

    def __init__(self, state: State | None) -> None:
        self.state = state
        self._hashes = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._hashes)

    def may_have(self, keys: Sequence[str]) -> Mask:
        """Which of these keys may be there; those that aren't certainly aren't."""
        hashes = _hashes(keys)
        return self._found(hashes, np.searchsorted(self._hashes, hashes))

    def add(self, keys: Sequence[str]) -> None:
        """Take note of keys of the table."""
        with self.joined_by(keys):
            pass

    @contextmanager
    def joined_by(self, keys: Sequence[str]) -> Iterator[bool]:
        """Yield whether some of them may be there; have those that weren't once the block is done."""
        new = np.sort(_hashes(keys))  # which are found quicker in order
        places = np.searchsorted(self._hashes, new)
        there = self._found(new, places)
        yield bool(there.any())
        self._hashes = np.insert(self._hashes, places[~there], new[~there])

    def _found(self, hashes: Hashes, places: Any) -> Mask:
        if not len(self._hashes):
            return np.zeros(len(hashes), bool)
        found: Mask = self._hashes[np.minimum(places, len(self._hashes) - 1)] == hashes
        return found


def _hashes(keys: Sequence[str]) -> Hashes:
    return np.fromiter(map(hash, keys), np.int64, len(keys))
