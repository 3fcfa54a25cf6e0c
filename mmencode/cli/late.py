"""Items and queries of spaces that give many vectors for each item, on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..embeddings.embeddings import Embeddings
    from ..embeddings.multi import MultiEmbeddings
    from ..index import Index
    from ..spaces.sides import Role
    from ..spaces.space import Space


class Precision(StrEnum):
    """The type of the numbers that an index of many vectors for each item keeps."""

    float32 = "float32"
    float16 = "float16"


Pool = Annotated[
    int | None,
    typer.Option(
        "--pool",
        min=1,
        help="Merge the vectors of each item to this part of their number: 2 for half. For spaces that give "
        "many vectors for each item.",
        metavar="NUMBER",
    ),
]
Precisions = Annotated[
    Precision | None,
    typer.Option(
        "--precision",
        help="Keep the numbers of a new index in float32, or in float16, which takes half the space. For "
        "spaces that give many vectors for each item.",
        metavar="|".join(Precision),
    ),
]


def gives_many(space: Space) -> bool:
    """Whether the items of a space have many vectors each."""
    return any(spec.outputs == "many" for spec in space.specs.values())


def require_pool(space: Space, pool: int | None) -> None:
    """Refuse --pool for a space whose items have one vector each."""
    if pool is not None and not gives_many(space):
        raise typer.BadParameter(
            f"the items of space {space.name!r} have one vector each: leave it out", param_hint="--pool"
        )


def encode_items(
    space: Space, modality: str, batch: Sequence[Any], pool: int | None = None, role: Role = ""
) -> Embeddings | MultiEmbeddings:
    """Encode items, to one vector each or to many, and skip those that fail."""
    require_pool(space, pool)
    if gives_many(space):
        return space.encode_multi(modality, batch, role=role, pool=pool or 1, on_error="skip", progress=True)
    return space.encode(modality, batch, role=role, on_error="skip", progress=True)


def encode_query(space: Space, pairs: Sequence[tuple[str, Any]], weights: Sequence[float]) -> MultiEmbeddings:
    """Encode the one text or example of a query; wrong usage for several, which have no sum."""
    if len(pairs) > 1 or weights[0] < 0:
        raise typer.BadParameter(
            f"space {space.name!r} gives many vectors for each item, which aren't summed up: search by one "
            "text or one example, without --weight and --without"
        )
    ((modality, item),) = pairs
    return space.encode_multi(modality, [item], role="query")


def create_index(path: Any, space: Space, pool: int | None, precision: Precision | None) -> Index:
    """Create an index that keeps vectors as the options say; wrong usage where they don't fit the space."""
    from ..index import Index

    require_pool(space, pool)
    if precision is not None and not gives_many(space):
        raise typer.BadParameter(
            f"the items of space {space.name!r} have one vector each: leave it out", param_hint="--precision"
        )
    return Index.create(path, space, pool=pool or 1, precision=str(precision or Precision.float32))


def require_settings(index: Index, pool: int | None, precision: Precision | None) -> None:
    """Refuse options by which an index that is there wasn't made."""
    held = index.state().layout
    for option, given, kept in (("--pool", pool, held.pool), ("--precision", precision, held.precision)):
        if given is not None and given != kept:
            raise typer.BadParameter(
                f"the index at {index.path} was made with {kept}, which stays: leave it out, or make another "
                "index",
                param_hint=option,
            )
