"""The hashes of a table's keys, kept in memory, so that keys which are new needn't be looked up in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..embeddings.array_types import Flags
from .latest import CommitMark

Hashes = np.ndarray[Any, np.dtype[np.int64]]


class KeyHashes:
    """The hashes, sorted, of all keys that a table has as of one commit.

    Two keys may share a hash: a key whose hash is missing is certainly not in the table, any other may be.
    """

    def __init__(self, mark: CommitMark | None) -> None:
        self.mark = mark
        self._hashes = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._hashes)

    def may_have(self, keys: Sequence[str]) -> Flags:
        """Mark, of these keys, those that may be in the table."""
        hashes = _hash(keys)
        return self._contains(hashes, np.searchsorted(self._hashes, hashes))

    def add(self, keys: Sequence[str]) -> None:
        """Take in keys that the table has."""
        with self.adding(keys):
            pass

    @contextmanager
    def adding(self, keys: Sequence[str]) -> Iterator[bool]:
        """Yield whether the table may have some of the keys; take in the others if the block succeeds."""
        new = np.sort(_hash(keys))  # searchsorted finds sorted values faster
        places = np.searchsorted(self._hashes, new)
        there = self._contains(new, places)
        yield bool(there.any())
        self._hashes = np.insert(self._hashes, places[~there], new[~there])

    def _contains(self, hashes: Hashes, places: Any) -> Flags:
        """Mark the hashes that are held, given the places at which they would stand."""
        if not len(self._hashes):
            return np.zeros(len(hashes), bool)
        there: Flags = self._hashes[np.minimum(places, len(self._hashes) - 1)] == hashes
        return there


def _hash(keys: Sequence[str]) -> Hashes:
    return np.fromiter(map(hash, keys), np.int64, len(keys))
