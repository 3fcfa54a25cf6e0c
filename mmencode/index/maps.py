"""Maps from the vectors of one space into another, as a bridge between the two has them in its towers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import normalize

from ..card import SpaceCard
from ..embeddings.array_types import Vectors
from ..encoder.identity import identify_projection
from ..errors import MmencodeError
from ..projection import Chain, Projection
from ..spaces.space import Space

_NO_PROJECTION = ("identity", "class:IdentityProjection")
_SAME = 0.99999
PROVEN = 0.999  # least cosine of a mapped row to its item encoded anew


def find_maps(card: SpaceCard, target: Space, modalities: Iterable[str]) -> dict[str, Projection]:
    """Find, by modality, the maps that take rows of a space into another without encoding their items.

    There is one where the target's encoder is that of the rows, and its projection goes through the rows'
    own space, as in what `mmencode.bridge` makes: then both ways give the same vectors.
    """
    found = {}
    for modality in modalities:
        tower, projection = card.tower(modality), target.projections.get(modality)
        if tower is None or projection is None:
            continue
        try:
            new = target.tower_card(modality)
        except MmencodeError:
            continue
        both = (replace(each.identity, projection="") for each in (tower, new))
        same = new.encoder == tower.encoder and new.precision == tower.precision and len({*both}) == 1
        if not same:
            continue
        if tower.identity.projection in _NO_PROJECTION:
            found[modality] = projection  # of unit vectors in place of features, if only directions count
        elif (
            isinstance(projection, Chain)
            and identify_projection(projection.first) == tower.identity.projection
        ):
            found[modality] = projection.second
    return found


def counts_directions(projection: Projection, vectors: Vectors) -> bool:
    """Whether a map of vectors `[n, dim]` depends on their directions alone, not on their lengths."""
    near, far = (apply_map(projection, by * vectors) for by in (np.float32(0.5), np.float32(4)))
    return bool(len(vectors)) and float((near * far).sum(axis=1).min()) > _SAME


def apply_map(projection: Projection, vectors: Vectors) -> Vectors:
    """Map unit vectors `[n, dim]` to unit vectors of the space that the projection leads into."""
    with torch.inference_mode():
        mapped: Vectors = normalize(
            projection(torch.from_numpy(np.ascontiguousarray(vectors))), dim=-1
        ).numpy()
    return mapped
