"""Batches whose items are of several modalities, each encoded by its own encoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from ..embeddings.embeddings import Embeddings
from ..embeddings.rows import join_widths
from ..engine.call import OnError
from ..errors import InputError
from ..inputs.batches import as_pairs, check_on_error, modality_of
from .sides import Role


class Encoding(Protocol):
    """The part of a Space by which mixed batches are encoded."""

    @property
    def id(self) -> str:
        """The name and fingerprint of the space."""

    @property
    def dim(self) -> int:
        """The width of every vector."""

    def key(self, modality: str, role: Role = "") -> str:
        """The key of the encoder for items of a modality in a role."""

    def encode(self, modality: str, batch: Iterable[Any], *, on_error: OnError, progress: bool) -> Embeddings:
        """Turn a batch of items of one modality into vectors."""


def encode_mixed(
    space: Encoding, pairs: Iterable[tuple[str, Any]], role: Role, on_error: OnError, progress: bool
) -> Embeddings:
    """Encode `(modality, item)` pairs in a space, a modality at a time, and give rows in their order."""
    check_on_error(on_error)
    pairs = as_pairs(pairs)
    places: dict[str, list[int]] = {}
    for place, pair in enumerate(pairs):
        key = space.key(modality_of(pair, place), role)
        places.setdefault(key, []).append(place)
    vectors = np.empty((len(pairs), space.dim), np.float32)
    kept = np.zeros(len(pairs), bool)
    parts: list[Embeddings] = []
    errors: list[InputError] = []
    for key, indices in places.items():
        items: Any = (pairs[index][1] for index in indices)  # one by one, as a data set may use them again
        if type(pairs) in (list, tuple):
            items = list(items)
        part = space.encode(key, items, on_error="skip", progress=progress)
        rows = np.asarray(indices)[part.positions]
        vectors[rows] = part.vectors
        kept[rows] = True
        parts.append(part)
        errors += [error.at(indices[error.index or 0]) for error in part.errors]
    errors.sort(key=lambda error: error.index or 0)
    if errors and on_error == "raise":
        raise errors[0]
    return Embeddings(
        vectors[kept],
        space=space.id,
        modality="mixed",
        positions=np.flatnonzero(kept),
        errors=errors,
        towers={key: digest for part in parts for key, digest in part.towers.items()},
        widths=join_widths([part.widths for part in parts]),
    )
