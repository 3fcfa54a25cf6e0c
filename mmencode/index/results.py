"""The results of an index: rows that a search finds, items that failed, counts of an addition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arguments.brief import Brief
from ..embeddings.embeddings import Embeddings
from ..embeddings.multi import MultiEmbeddings
from ..errors import Fault
from .layout import SINGLE, Layout


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that a search found; `score` is its cosine similarity, after centring if the search centres.

    Of rows with many vectors each it is MaxSim.
    """

    key: str
    modality: str
    score: float
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RankedHit:
    """A row that a search by words found, alone or beside vectors, with its rank in each of the two lists.

    score        its cosine similarity or MaxSim, as that of a `Hit`; None where it isn't among the nearest
    bm25         how well its full text fits the words; comparable within one search only; None where it
                 isn't among those that fit best
    vector_rank  its rank among the nearest rows, from 1; None where `score` is
    text_rank    its rank among the rows whose words fit, from 1; None where `bm25` is
    fused        the sum of 1 / (60 + rank) over both lists, which says nothing about how alike they are
    reranked     the score that a reranker gave, None without one; in the reranker's own terms
    """

    key: str
    modality: str
    score: float | None
    metadata: Mapping[str, Any]
    bm25: float | None
    vector_rank: int | None
    text_rank: int | None
    fused: float
    reranked: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that couldn't be encoded, why, and whose fault that is, in the terms of `InputError.fault`."""

    key: str
    modality: str
    reason: str
    fault: Fault = "content"


@dataclass(frozen=True, slots=True, repr=False)
class Added(Brief):
    """The counts of an addition of items to an index.

    added      rows that were encoded and written, new or in place of older ones
    unchanged  rows that were there already, of the same content
    failed     items that weren't encoded; those that an earlier addition listed are among them
    removed    rows that were deleted since their files are gone
    replaced   rows among `added` that took the place of older ones
    left_out   numbers of files in the folder that weren't read, by the reason
    """

    added: int
    unchanged: int
    failed: tuple[Failure, ...] = ()
    removed: int = 0
    replaced: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Added) -> Added:
        """Sum up two additions; for `left_out`, which both may have counted, the larger number holds."""
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


@dataclass(frozen=True, slots=True, repr=False)
class Rows(Brief):
    """Rows in the order of their keys: vectors with keys, and the modality and metadata of each row.

    `embeddings` are MultiEmbeddings where rows have many vectors each.
    """

    embeddings: Embeddings | MultiEmbeddings
    modalities: tuple[str, ...]
    metadata: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class State:
    """The numbers of an index: its rows, failures, size on disk, and approximate index.

    rows      number of rows by modality
    failures  number of items that are listed as failed
    bytes     size on disk, with older versions that `compact` removes
    method    kind of the approximate index, "" while every search is exact
    covered   number of rows in the approximate index; the others are searched exactly beside it
    layout    whether rows have one vector or many, and how these are kept
    memory    bytes that the vectors take in a process that searches by more than a few queries; 0 where they
              stay on disk, because they are too many, or each row has many
    held      bytes of vectors, keys and metadata that this process holds of them now
    columns   names of the metadata that rows have
    full_text  how words are told apart in each column that has full text
    """

    rows: Mapping[str, int]
    failures: int
    bytes: int
    method: str
    covered: int
    layout: Layout = SINGLE
    memory: int = 0
    held: int = 0
    columns: tuple[str, ...] = ()
    full_text: Mapping[str, str] = field(default_factory=dict)


def share_found(
    found: Sequence[Sequence[Hit]], expected: Sequence[Sequence[Hit]], own: Sequence[str] | None
) -> float:
    """The mean share of each query's expected rows that were found; 1 without queries.

    `own` are the keys of queries that are rows themselves, which don't count.
    """
    shares = []
    for place, (hits, truth) in enumerate(zip(found, expected, strict=True)):
        best = {hit.key for hit in truth} - ({own[place]} if own else set())
        shares.append(len(best & {hit.key for hit in hits}) / max(1, len(best)))
    return float(np.mean(shares)) if shares else 1.0
