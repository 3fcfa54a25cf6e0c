"""Keys that several parts of an output have, found by their hashes on the disk, whatever their number."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from .output import Output

_BUCKETS = 64  # of hashes, each of which is in memory as a whole
_ENTRY = np.dtype([("hash", np.int64), ("part", np.int64)])


def find_duplicates(output: str) -> dict[str, list[str]]:
    """Find the keys that several rows of an output have, each with the names of the parts that have it.

    Keys are unique within a unit; across units nothing else looks for that. In memory are a part's keys, and
    a share of all their hashes, which are written to a temporary folder.
    """
    place = Output(output)
    return duplicates_among(place, sorted(place.names()))


def duplicates_among(output: Output, names: Collection[str]) -> dict[str, list[str]]:
    """Find the keys that several rows of these parts have, each with the names of the parts."""
    listed = list(names)
    with tempfile.TemporaryDirectory(prefix="mmencode-keys-") as folder:
        buckets = [Path(folder, f"{number}.hashes") for number in range(_BUCKETS)]
        _write(output, listed, buckets)
        twice, parts = _find(buckets)
    if not parts:
        return {}
    found: dict[str, list[str]] = {}
    for name, keys in output.read_keys([listed[place] for place in sorted(parts)]):
        for key, digest in zip(keys, _hash(keys).tolist(), strict=True):
            if digest in twice:
                found.setdefault(key, []).append(name)
    return {key: names for key, names in found.items() if len(names) > 1}


def _write(output: Output, names: list[str], buckets: list[Path]) -> None:
    """Write the hash of each key, and its part's place, into the bucket that the hash belongs to."""
    places = {name: place for place, name in enumerate(names)}
    with ExitStack() as stack:
        files = [stack.enter_context(bucket.open("wb")) for bucket in buckets]
        for name, keys in output.read_keys(names):
            entries = np.empty(len(keys), _ENTRY)
            entries["hash"], entries["part"] = _hash(keys), places[name]
            for number, some in _divide(entries):
                files[number].write(some.tobytes())


def _divide(entries: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    numbers = entries["hash"] % _BUCKETS
    for number in np.unique(numbers).tolist():
        yield number, entries[numbers == number]


def _find(buckets: list[Path]) -> tuple[set[int], set[int]]:
    """Find the hashes that come twice, and the parts that have them."""
    twice: set[int] = set()
    parts: set[int] = set()
    for bucket in buckets:
        entries = np.fromfile(bucket, _ENTRY)
        hashes, counts = np.unique(entries["hash"], return_counts=True)
        again = hashes[counts > 1]
        twice.update(again.tolist())
        parts.update(entries["part"][np.isin(entries["hash"], again)].tolist())
    return twice, parts


def _hash(keys: list[str]) -> np.ndarray:
    return np.fromiter(map(hash, keys), np.int64, len(keys))
