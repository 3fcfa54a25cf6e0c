"""The content of a map: points, groups and outliers, computed once from the rows of an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..arguments.brief import Brief
from ..embeddings.blanks import require_none_blank
from ..embeddings.embeddings import Embeddings
from ..embeddings.multi import MultiEmbeddings
from .clusters import cluster
from .groups import Grouping, group_labels, group_values
from .layout import Layout, LayoutMethod, centre_modalities, lay_out
from .outliers import Outlier, find_outliers

MODALITY, CLUSTER = "modality", "cluster"


class SurveyRows(Protocol):
    """Rows with their modalities and metadata, such as those of `mmencode.Index.rows`."""

    @property
    def embeddings(self) -> Embeddings | MultiEmbeddings:
        """The vectors of the rows, with their keys."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modality of each row."""

    @property
    def metadata(self) -> tuple[Mapping[str, Any], ...]:
        """The metadata of each row, by the names of columns."""


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Survey(Brief):
    """Rows of an index with their layout on a plane, groupings to colour them by, and outliers."""

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
    """Rows made of Embeddings: all of one modality, and without metadata."""

    embeddings: Embeddings | MultiEmbeddings

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modality of the embeddings, once for each row; "mixed" where several were joined."""
        return (self.embeddings.modality,) * len(self.embeddings)

    @property
    def metadata(self) -> tuple[Mapping[str, Any], ...]:
        """An empty mapping for each row."""
        return ({},) * len(self.embeddings)


def survey(
    rows: SurveyRows | Embeddings,
    *,
    by: Sequence[str] = (MODALITY,),
    method: LayoutMethod = "pca",
    clusters: int | None = None,
    centre: bool = False,
    seed: int = 0,
) -> Survey:
    """Lay rows out on a plane, group them and find outliers; a seed gives one result.

    `by` names what colours the points: "modality", "cluster" (of k-means, `clusters` of them or as many as
    have the best silhouette), or a column of the metadata. `centre` subtracts the mean of each modality from
    its vectors before the layout and the clustering, so that points are near by meaning and not by modality.
    ValueError for no rows, and for a column that no row has.
    """
    rows = PlainRows(rows) if isinstance(rows, Embeddings) else rows
    given, modalities = rows.embeddings, rows.modalities
    embeddings = given if isinstance(given, Embeddings) else given.mean()
    if not len(embeddings):
        raise ValueError("there are no rows to draw: add some first")
    require_none_blank(embeddings.blank, "drawn")
    _require_columns(by, rows)
    vectors = centre_modalities(embeddings.vectors, modalities) if centre else embeddings.vectors
    groupings = []
    for name in dict.fromkeys(by):
        if name == CLUSTER:
            members = cluster(vectors, clusters, seed=seed).tolist()
            labels = [f"{CLUSTER} {place + 1}" for place in range(max(members) + 1)]
            groupings.append(group_labels(CLUSTER, members, labels))
        elif name == MODALITY:
            groupings.append(group_values(MODALITY, modalities))
        else:
            groupings.append(group_values(name, [row.get(name) for row in rows.metadata]))
    return Survey(
        space=embeddings.space,
        keys=embeddings.keys or tuple(f"row {place}" for place in range(len(embeddings))),
        modalities=modalities,
        layout=lay_out(vectors, method, seed=seed),
        groupings=tuple(groupings),
        outliers=tuple(find_outliers(embeddings.vectors, modalities)),
    )


def _require_columns(by: Sequence[str], rows: SurveyRows) -> None:
    """Raise ValueError for a name that is neither "modality" nor "cluster" nor a column of any row."""
    columns = list(dict.fromkeys(name for row in rows.metadata for name in row))
    for name in by:
        if name not in (MODALITY, CLUSTER, *columns):
            known = ", ".join([MODALITY, CLUSTER, *columns])
            raise ValueError(f"no row has the column {name!r}: name one of {known}")
