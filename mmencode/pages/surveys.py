"""What a map shows of an index: points, groups and outliers, computed once from its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..embeddings.embeddings import Embeddings
from .clusters import clustered
from .groups import Grouping, grouped, numbered
from .layout import Layout, Method, centred, laid_out
from .outliers import Outlier, outliers

MODALITY, CLUSTER = "modality", "cluster"


class Rows(Protocol):
    """Rows with their modalities and metadata, as `mmencode.Index.rows` gives them."""

    @property
    def embeddings(self) -> Embeddings:
        """The vectors, with keys."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modality of each row."""

    @property
    def metadata(self) -> tuple[Mapping[str, Any], ...]:
        """The columns of each row, by name."""


@dataclass(frozen=True, eq=False, slots=True)
class Survey:
    """The rows of an index on a plane; groupings, the first of which colours them first, and outliers."""

    space: str
    keys: tuple[str, ...]
    modalities: tuple[str, ...]
    layout: Layout
    groupings: tuple[Grouping, ...]
    outliers: tuple[Outlier, ...]

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, eq=False, slots=True)
class PlainRows:
    """Embeddings as rows without metadata, all of one modality; those without keys are numbered."""

    embeddings: Embeddings

    @property
    def modalities(self) -> tuple[str, ...]:
        """The embeddings' own, "mixed" where they were joined."""
        return (self.embeddings.modality,) * len(self.embeddings)

    @property
    def metadata(self) -> tuple[Mapping[str, Any], ...]:
        """Nothing is known but the vectors."""
        return ({},) * len(self.embeddings)


def survey(
    rows: Rows | Embeddings,
    *,
    by: Sequence[str] = (MODALITY,),
    method: Method = "pca",
    clusters: int | None = None,
    centre: bool = False,
    seed: int = 0,
) -> Survey:
    """Lay rows out on a plane, group them and find outliers; the same each time.

    `by` names what colours the points: "modality", "cluster" (of k-means, `clusters` of them or as many as
    the silhouette prefers), or a column of the metadata. With `centre`, the mean of each modality is taken
    from its vectors before they are laid out and clustered, so that what they mean tells them apart rather
    than what they are. ValueError for rows that aren't there, and for a column that no row has.
    """
    rows = PlainRows(rows) if isinstance(rows, Embeddings) else rows
    embeddings, modalities = rows.embeddings, rows.modalities
    if not len(embeddings):
        raise ValueError("there are no rows to draw: add some first")
    _require_columns(by, rows)
    vectors = centred(embeddings.vectors, modalities) if centre else embeddings.vectors
    groupings = []
    for name in dict.fromkeys(by):
        if name == CLUSTER:
            members = clustered(vectors, clusters, seed=seed).tolist()
            labels = [f"{CLUSTER} {place + 1}" for place in range(max(members) + 1)]
            groupings.append(numbered(CLUSTER, members, labels))
        elif name == MODALITY:
            groupings.append(grouped(MODALITY, modalities))
        else:
            groupings.append(grouped(name, [row.get(name) for row in rows.metadata]))
    return Survey(
        space=embeddings.space,
        keys=embeddings.keys or tuple(f"row {place}" for place in range(len(embeddings))),
        modalities=modalities,
        layout=laid_out(vectors, method, seed=seed),
        groupings=tuple(groupings),
        outliers=tuple(outliers(embeddings.vectors, modalities)),
    )


def _require_columns(by: Sequence[str], rows: Rows) -> None:
    """Raise ValueError for a column that no row has; a column named like a modality or cluster is hidden."""
    columns = list(dict.fromkeys(name for row in rows.metadata for name in row))
    for name in by:
        if name not in (MODALITY, CLUSTER, *columns):
            known = ", ".join([MODALITY, CLUSTER, *columns])
            raise ValueError(f"no row has the column {name!r}: name one of {known}")
