"""What an index gives: rows that were found, items that failed, what an addition did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..embeddings.embeddings import Embeddings
from ..errors import Fault


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that was found; `score` is its cosine similarity, centred where that was asked for."""

    key: str
    modality: str
    score: float
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that couldn't be encoded, why, and whose fault that is, in the words of InputError."""

    key: str
    modality: str
    reason: str
    fault: Fault = "content"


@dataclass(frozen=True, slots=True)
class Added:
    """What an addition did.

    added      rows that were encoded and written, new or in place of older ones
    unchanged  rows that were there already, of the same content
    failed     items that weren't encoded; those known from an earlier try are among them
    removed    rows whose files are gone
    replaced   rows among those added that took the place of older ones
    left_out   how many files of a folder weren't looked at, by the reason
    """

    added: int
    unchanged: int
    failed: tuple[Failure, ...] = ()
    removed: int = 0
    replaced: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Added) -> Added:
        """Both together; of what was left out for one reason, the larger number."""
        left_out = {**self.left_out}
        for reason, count in other.left_out.items():
            left_out[reason] = max(count, left_out.get(reason, 0))
        return Added(
            self.added + other.added,
            self.unchanged + other.unchanged,
            self.failed + other.failed,
            self.removed + other.removed,
            self.replaced + other.replaced,
            left_out,
        )


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows in the order of their keys: vectors with keys, the modality of each, what is known of each."""

    embeddings: Embeddings
    modalities: tuple[str, ...]
    metadata: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class State:
    """What an index holds.

    rows      by modality
    failures  items that are listed as failed
    bytes     on disk, older versions that `compact` removes included
    method    the kind of the approximate index, "" while every search is exact
    covered   rows that the approximate index has; the others are searched exactly beside it
    """

    rows: Mapping[str, int]
    failures: int
    bytes: int
    method: str
    covered: int
