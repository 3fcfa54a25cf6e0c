"""Add the items of a table to an index, with what the other columns say about them as metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import InputError
from . import output
from .failures import as_documents, blame_usage, report, require_some
from .items import Items, read_table

if TYPE_CHECKING:
    from ..index import Added, Failure, Index


@dataclass(frozen=True, slots=True)
class TableRows:
    """The items of a table that are to be added to an index, and their modality."""

    modality: str
    found: Items

    @classmethod
    def read(cls, table: Path, modality: Sequence[str] | None) -> TableRows:
        """Read a table; wrong usage where its modality isn't said, exit code 1 where all rows are bad.

        Keys are absolute paths where they are paths, as those of files in folders are.
        """
        if modality is None or len(modality) != 1:
            raise typer.BadParameter(
                "say what the items of the table are, such as --modality image+text", param_hint="--modality"
            )
        found = _check_metadata(read_table(modality[0], table.absolute(), unique=True))
        require_some(len(found.batch), found.errors)
        return cls(modality[0], found)

    def add(self, index: Index, *, retry: bool, json: bool) -> None:
        """Add the items, and report what was done; exit with code 1 if the index stays empty."""
        rows = self.found.rows
        told = any(row.others for row in rows)  # else rows that are there keep their metadata
        try:
            with blame_usage("--list"):
                done = index.add(
                    self.modality,
                    self.found.batch,
                    keys=self.found.keys,
                    metadata=[row.others for row in rows] if told else None,
                    on_error="skip",
                    retry=retry,
                    progress=True,
                )
        except TypeError as cause:  # metadata of another type than a column of the index has
            raise typer.BadParameter(str(cause), param_hint="--list") from cause
        if done.added:
            index.compact()
        self._report(index, done, json=json)

    def _report(self, index: Index, done: Added, *, json: bool) -> None:
        failed = [*self.found.errors, *self._list_failed(done.failed)]
        counts: dict[str, Any] = {"added": done.added, "unchanged": done.unchanged}
        if json:
            document = {"space": index.card.id, **counts, "rows": len(index), "failed": as_documents(failed)}
            output.document(document)
        else:
            columns = (*counts, "failed", "rows")
            values = (*map(str, counts.values()), str(len(failed)), str(len(index)))
            output.table(output.Table(str(index.path), columns, [values], columns))
        report(failed)
        if not len(index):
            output.note("error: the index is empty: no item of the table could be encoded")
            raise typer.Exit(1)

    def _list_failed(self, failures: Sequence[Failure]) -> list[InputError]:
        """Make the errors of items that couldn't be encoded, each with its row of the table."""
        places = {row.key: row.place for row in self.found.rows}
        return [
            InputError(
                failure.reason,
                source=f"{places[failure.key]}, {failure.key}",
                remedy="correct the row or its files, and add the table again",
                fault=failure.fault,
            )
            for failure in failures
        ]


def _check_metadata(found: Items) -> Items:
    """Set the rows aside whose other columns can't be metadata, each with the reason."""
    from ..index.columns import join_types, plain_metadata

    kept, types = Items(errors=found.errors), dict[str, str]()
    for row in found.rows:
        try:
            types = join_types(types, plain_metadata(row.others, row.number), row.number)
        except (TypeError, ValueError) as cause:
            kept.errors.append(
                InputError(str(cause), source=row.place, remedy="change that column, or leave it out")
            )
        else:
            kept.rows.append(row)
            kept.batch.append(row.item)
    return kept
