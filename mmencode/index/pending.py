"""The rows and failures that the next commit writes, as columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..embeddings.embeddings import Embeddings
from ..embeddings.multi import MultiEmbeddings
from ..embeddings.surrogates import escape_surrogates
from .columns import metadata_columns, metadata_names, plain_metadata, stamp_fields
from .entries import KEPT, Entry, escape_keys
from .stamps import ContentStamp
from .tables import Stored


@dataclass(frozen=True, slots=True)
class Pending:
    """An entry that is to be written, the stamp of its content, and the row that its key has, if any."""

    entry: Entry
    stamp: ContentStamp
    row: Stored | None

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The metadata that the caller gave, or else that of the key's row; with the text that is kept."""
        known = {} if self.row is None else self.row.metadata
        given = known if self.entry.metadata is None else self.entry.metadata
        return given if self.entry.text is None else {**given, KEPT: self.entry.text}

    @property
    def differs(self) -> bool:
        """Whether size, time or metadata differ from those of the row that the key has."""
        if self.row is None:
            return True
        before, now = self.row.stamp, self.stamp
        moved = (before.size, before.time) != (now.size, now.time)
        moved = moved or now.parts not in (None, before.parts)
        return moved or self.metadata != self.row.metadata


@dataclass(frozen=True, slots=True)
class NewRows:
    """The columns of rows of one modality, but for their vectors; keys and modality are escaped.

    `places` are the rows' positions in the caller's batch, None where they are 0, 1, 2, ...
    """

    keys: Sequence[str]
    modality: str
    stamps: Sequence[ContentStamp] | None = None
    metadata: Sequence[Mapping[str, Any]] | None = None
    places: Sequence[int] | None = None

    @staticmethod
    def of(pending: Sequence[Pending]) -> NewRows:
        """Gather entries, one at least, into columns."""
        return NewRows(
            [escape_surrogates(one.entry.key) for one in pending],
            escape_surrogates(pending[0].entry.modality),
            [one.stamp for one in pending],
            [one.metadata for one in pending],
            [one.entry.place for one in pending],
        )

    @staticmethod
    def of_embeddings(embeddings: Embeddings | MultiEmbeddings, metadata: Iterable[Any] | None) -> NewRows:
        """Gather the keys of vectors, and metadata for each; ValueError where the numbers differ."""
        keys = escape_keys(embeddings.keys)
        plain = None
        if metadata is not None:
            plain = [plain_metadata(row, place) for place, row in enumerate(metadata)]
            if len(plain) != len(keys):
                noun = "items" if isinstance(embeddings, MultiEmbeddings) else "vectors"
                raise ValueError(f"{len(keys)} {noun} have metadata for {len(plain)}: give as many")
        return NewRows(keys, escape_surrogates(embeddings.modality), metadata=plain)

    def columns(self, schema: Any) -> dict[str, Any]:
        """Make the columns that a table of this schema has, but for the vectors."""
        import pyarrow as pa

        modality = pa.repeat(pa.scalar(self.modality, pa.string()), len(self.keys))
        columns = {"key": pa.array(self.keys, pa.string()), "modality": modality, **self._stamp_columns()}
        if self.metadata is None:
            names = metadata_names(schema)
            return columns | {name: pa.nulls(len(self.keys), schema.field(name).type) for name in names}
        values = metadata_columns(schema, self.metadata)
        return columns | dict(zip(metadata_names(schema), values, strict=True))

    def _stamp_columns(self) -> dict[str, Any]:
        import pyarrow as pa

        fields = stamp_fields()
        if self.stamps is None:
            return {field.name: pa.nulls(len(self.keys), field.type) for field in fields}
        values = [(stamp.hash, stamp.size, stamp.time) for stamp in self.stamps]
        columns = zip(*values, strict=True)
        return {
            field.name: pa.array(column, field.type) for field, column in zip(fields, columns, strict=True)
        }
