"""Rerankers, which score once more the rows that a search found: any callable, or late interaction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..arguments.lists import to_list
from ..embeddings.maxsim import maxsim
from ..embeddings.multi import MultiEmbeddings
from ..errors import EncoderError, InputError, MmencodeError
from ..errors.causes import describe_error, printable
from ..plugins.spec import QUERY, TEXT
from ..spaces.late import products_device
from ..spaces.space import Space
from .entries import KEPT
from .results import RankedHit

Reranker = Callable[[str, Sequence[RankedHit]], Any]


def rerank_hits(reranker: Reranker, words: str, hits: Sequence[RankedHit]) -> list[RankedHit]:
    """Order hits by a reranker's scores, highest first; equal ones stay in their order.

    Raises EncoderError where the reranker fails, or doesn't give a finite number for each hit.
    """
    if not hits:
        return []
    try:
        given = reranker(words, tuple(hits))
    except MmencodeError:
        raise
    except Exception as cause:
        raise _blame(reranker, f"failed on {words!r:.100}: {describe_error(cause)}") from cause
    try:
        scores = [float(score) for score in to_list(given, "scores", once=True)]
    except Exception as cause:
        raise _blame(reranker, f"gave no scores for {words!r:.100}: {describe_error(cause)}") from cause
    if len(scores) != len(hits):
        raise _blame(reranker, f"gave {len(scores)} scores for {len(hits)} rows")
    for hit, score in zip(hits, scores, strict=True):
        if not math.isfinite(score):
            raise _blame(reranker, f"gave {hit.key!r:.200} the score {score}")
    scored = [replace(hit, reranked=score) for hit, score in zip(hits, scores, strict=True)]
    return sorted(scored, key=lambda hit: -(hit.reranked or 0.0))


class MaxSimReranker:
    """A reranker that encodes rows again, by a space of late interaction, and scores them by MaxSim.

    Of a row of texts it reads the kept text, the metadata `column`, or else the key; of any other row what
    its key names, a file say. Every search encodes the rows that it is to rank, so ask for few: `depth=20`.
    """

    def __init__(self, space: Space, *, column: str = KEPT) -> None:
        """Take a space, which stays the caller's; ValueError for one whose items have one vector each."""
        if not any(spec.outputs == "many" for spec in space.specs.values()):
            raise ValueError(
                f"the items of space {space.name!r} have one vector each, and MaxSim compares many: pass a "
                "space of late interaction"
            )
        self.space: Space = space
        self.column: str = column

    def __call__(self, words: str, hits: Sequence[RankedHit]) -> list[float]:
        """Score hits for a query of words; InputError, with its key, for a row that can't be read."""
        query = self.space.encode_multi(TEXT, [words], role=QUERY)
        scores = [0.0] * len(hits)
        for modality in dict.fromkeys(hit.modality for hit in hits):
            places = [place for place, hit in enumerate(hits) if hit.modality == modality]
            documents = self._encode(modality, [hits[place] for place in places])
            row = maxsim(query, documents, device=products_device(self.space.runtime))[0]
            for place, score in zip(places, row.tolist(), strict=True):
                scores[place] = score
        return scores

    def _encode(self, modality: str, hits: Sequence[RankedHit]) -> MultiEmbeddings:
        try:
            return self.space.encode_multi(modality, [self._read(hit) for hit in hits], role="document")
        except InputError as error:
            if error.index is not None:
                error.source = f"the row {printable(hits[error.index].key, 200)!r}"
            raise

    def _read(self, hit: RankedHit) -> Any:
        kept = hit.metadata.get(self.column)
        return kept if hit.modality == TEXT and isinstance(kept, str) else hit.key

    def __repr__(self) -> str:
        return f"<MaxSimReranker by {self.space.id}>"


def _blame(reranker: Reranker, what: str) -> EncoderError:
    name = getattr(reranker, "__qualname__", type(reranker).__qualname__)
    return EncoderError(
        f"the reranker {printable(str(name), 100)} {what}",
        remedy="give a callable that takes the words and the hits, and returns a finite number for each hit",
    )
