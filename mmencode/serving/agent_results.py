"""The structured results of an agent's tools; clients see their schemas, descriptions included."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Row(BaseModel):
    """A row of the index."""

    key: str
    modality: str
    metadata: dict[str, Any]
    words: str = Field("", description="The words that the row is shown by, where these aren't its key.")
    preview: int | None = Field(
        None, description="The place of its picture among the pictures of this answer, from 0."
    )


class Match(Row):
    """A row that a search found."""

    score: float | None = Field(
        description="Cosine similarity, or MaxSim where rows have many vectors; null where only words match."
    )
    vector_rank: int | None = Field(None, description="Of a hybrid search: the rank among nearest vectors.")
    text_rank: int | None = Field(None, description="Of a hybrid search: the rank by the row's words.")
    fused: float | None = Field(
        None, description="Of a hybrid search: what orders its matches; no similarity, and no measure of one."
    )


class Matches(BaseModel):
    """The rows nearest to a query, best first."""

    space: str
    matches: list[Match]


class Shown(BaseModel):
    """The rows that were asked for by their keys."""

    rows: list[Row]


class LabelScore(BaseModel):
    """A label with its score for an item."""

    label: str
    score: float = Field(description="Cosine similarity; comparable within one item only.")
    probability: float | None = Field(
        None, description="The probability, where the space declares a scale for it."
    )


class Classified(BaseModel):
    """The labels of one item, best first, or its error."""

    item: int = Field(description="The place of the item among those given, from 0.")
    labels: list[LabelScore] = []
    error: str = ""


class Classes(BaseModel):
    """The labels of each item."""

    space: str
    items: list[Classified]


class Description(BaseModel):
    """An index, its space, and the limits of its tools."""

    space: str = Field(description="The id of the space; vectors of another one aren't comparable.")
    dim: int = Field(description="The width of every vector.")
    modalities: list[str] = Field(description="Modalities that queries and examples may have.")
    rows: dict[str, int] = Field(description="The number of rows by modality.")
    failures: int = Field(description="The number of items that couldn't be encoded.")
    columns: list[str] = Field(description="Names of metadata, for conditions.")
    full_text: list[str] = Field(description="Columns whose words a hybrid search looks for.")
    many_vectors: bool = Field(description="Whether each row has many vectors, compared by MaxSim.")
    folders: list[str] = Field(description="Folders whose files may be used as examples.")
    limits: dict[str, int] = Field(description="The most of each thing that a tool takes or gives.")
