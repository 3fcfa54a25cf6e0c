"""What an index gives: rows that were found, items that failed, what an addition did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..embeddings import Embeddings


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that was found; `score` is its cosine similarity, centred where that was asked for."""

    key: str
    modality: str
    score: float
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that couldn't be encoded, and why."""

    key: str
    modality: str
    reason: str


@dataclass(frozen=True, slots=True)
class Added:
    """What an addition did.

    added      rows that were encoded and written, new or in place of older ones
    unchanged  rows that were there already, of the same content
    failed     items that have no row; those known from an earlier try are among them
    removed    rows whose files are gone
    """

    added: int
    unchanged: int
    failed: tuple[Failure, ...] = ()
    removed: int = 0


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
