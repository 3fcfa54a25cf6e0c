"""Vectors are cut to the widths that a model declares, into a space of their own, and to no others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..embeddings.array_types import Vectors
from ..embeddings.embeddings import Embeddings, id_of_truncation
from ..embeddings.rows import join_widths
from ..plugins.composites import parts_of
from ..spaces.sides import Role
from ..spaces.space import Space
from .faults import RequestError


def widths_of(space: Space, modality: str, role: Role = "") -> tuple[int, ...]:
    """The widths to which a modality's vectors may be cut; its encoder is loaded for that."""
    key = space.key(modality, role)
    if space.spec(key).weights:
        return join_widths([widths_of(space, part, role) for part in parts_of(modality)])
    return space.tower(key).card.widths


def require_width(space: Space, kinds: Sequence[tuple[str, Role]], dim: int) -> None:
    """Raise RequestError unless the vectors of these modalities and roles may all be cut to `dim` numbers."""
    if dim == space.dim:
        return
    for modality, role in kinds:
        widths = widths_of(space, modality, role)
        many = space.spec(space.key(modality, role)).outputs == "many"
        if many or dim not in widths:
            taken = ", ".join(map(str, (*widths, space.dim))) if not many else str(space.dim)
            raise RequestError(
                f"vectors of {modality} can't be cut to {dim} numbers",
                status=400,
                code="unknown_width",
                param="dimensions",
                remedy=f"the model declares {taken}",
            )


def id_of_width(space: str, full: int, dim: int | None) -> str:
    """The id of a space whose vectors have `full` numbers, once they are cut to `dim`, or to none."""
    return space if dim in (None, full) else id_of_truncation(space, dim or full)


def cut(vectors: Sequence[Vectors], space: str, dim: int) -> list[Vectors]:
    """Cut single vectors `[full]` to `dim` numbers, at unit length again."""
    rows = Embeddings(np.stack(vectors), space=space, modality="mixed")
    return list(rows.truncate(dim, force=True).vectors)
