"""The writer of an index: the one object that changes its tables, within the block that has the lock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from ..embeddings.embeddings import Embeddings
from ..embeddings.multi import MultiEmbeddings
from ..embeddings.surrogates import escape_surrogates, unescape_surrogates
from ..errors import ClosedError, InputError
from .ann import build
from .columns import failure_schema, new_columns
from .full_text import FullText
from .lance import as_store_errors
from .latest import LatestTable
from .pending import NewRows, Pending
from .sql import is_one_of
from .tables import KEYS_IN_CONDITION, Tables

IN_USE = timedelta(minutes=5)  # how long a search in another process may read a version that was replaced


class Writer:
    """The right to change an index's tables, which `with store.writing() as writer` gives and takes back.

    Each method is one commit, or a few in an order that leaves nothing wrong where the process is killed in
    between: a row is written before the failure of its key is deleted, and a failure before its row. Raises
    StoreError, and ClosedError after the block.
    """

    def __init__(self, tables: Tables) -> None:
        self._held: Tables | None = tables

    def end(self) -> None:
        """Give the right to write back."""
        self._held = None

    def put_rows(self, rows: NewRows, embeddings: Embeddings | MultiEmbeddings) -> int:
        """Write rows in one commit, in place of those with the same keys; return how many were replaced.

        Failures of their keys are deleted then. Raises TypeError and ValueError for metadata that no column
        can hold, and for keys of rows of another modality, before anything is written.
        """
        for key, row in self._tables.look_up(rows.keys)[0].items():
            if row.modality != rows.modality:
                raise another_modality(*map(unescape_surrogates, (key, row.modality, rows.modality)))
        vectors = self._tables.owner.layout.column(embeddings)
        schema, columns = self._add_columns(rows)
        replaced = self._put(_table({**columns, "vector": vectors}, schema), rows.keys)
        self.delete_failures(rows.keys)
        return replaced

    def copy_rows(self, facts: Any, embeddings: Embeddings | MultiEmbeddings) -> None:
        """Write rows of another edition with other vectors, in place of those with the same keys."""
        import pyarrow as pa

        known = set(self._tables.rows.schema.names)
        fields = [field for field in facts.schema if field.name not in known]
        if fields:
            with self._keeping_keys():
                self._tables.rows.table.add_columns(fields)
        schema = self._tables.rows.schema
        columns = {"vector": self._tables.owner.layout.column(embeddings)}
        for name in schema.names:
            if name in facts.schema.names:
                columns[name] = facts.column(name).combine_chunks()
            elif name != "vector":
                columns[name] = pa.nulls(facts.num_rows, schema.field(name).type)
        self._put(_table(columns, schema), facts.column("key").to_pylist())

    def copy_failures(self, failures: Any) -> None:
        """Write failures of another edition as they are, in place of all."""
        schema = failure_schema()
        table = _table({name: failures.column(name) for name in schema.names}, schema)
        self._delete_where(self._tables.failures, "true")
        if table.num_rows:
            with as_store_errors(self._tables.folder, "written"):
                _merge(self._tables.failures.table, table)
                self._tables.failures.refresh()

    def put_failures(self, failed: Sequence[tuple[Pending, InputError]]) -> None:
        """Write failures with their reasons, in place of those with the same keys.

        The rows of keys whose failure lasts are deleted then. Where a failure can pass, an older row stays:
        it is the last that was seen of the item.
        """
        import pyarrow as pa

        if not failed:
            return
        rows = NewRows.of([pending for pending, _ in failed])
        reasons = pa.array([escape_surrogates(error.fact) for _, error in failed], pa.string())
        faults = pa.array([error.fault for _, error in failed], pa.string())
        schema = failure_schema()
        table = _table({**rows.columns(schema), "reason": reasons, "fault": faults}, schema)
        with as_store_errors(self._tables.folder, "written"):
            _merge(self._tables.failures.table, table)
            self._tables.failures.refresh()
        lasting = [key for key, (_, error) in zip(rows.keys, failed, strict=True) if error.lasting]
        stored, _ = self._tables.look_up(lasting)
        # A row of another modality was written while this item was being encoded: it isn't the item's.
        self.delete_rows([key for key, row in stored.items() if row.modality == rows.modality])

    def put_stamps(self, unchanged: Sequence[Pending]) -> None:
        """Write the stamps and metadata of rows anew, and leave their vectors."""
        import pyarrow as pa

        if unchanged:
            _, columns = self._add_columns(NewRows.of(unchanged))
            del columns["modality"]
            with self._keeping_keys():
                merge = self._tables.rows.table.merge_insert("key").when_matched_update_all()
                merge.execute(pa.table(columns))

    def delete_rows(self, keys: Sequence[str]) -> int:
        """Delete the rows with these escaped keys; return how many there were."""
        return self._delete(self._tables.rows, keys)

    def delete_failures(self, keys: Sequence[str]) -> int:
        """Delete the failures with these escaped keys; return how many there were."""
        failures = self._tables.failures
        return self._delete(failures, keys) if failures.count else 0

    def delete_rows_where(self, condition: str) -> int:
        """Delete the rows that meet a checked condition; return how many there were."""
        return self._delete_where(self._tables.rows, condition)

    def build_full_text(self, columns: Sequence[FullText]) -> None:
        """Make the full text of columns, one commit for each, in place of what they have."""
        with self._keeping_keys():
            for each in columns:
                each.build(self._tables.rows.table)

    def compact(self) -> None:
        """Join small files, bring full text and approximate index up to date, drop versions nobody reads."""
        rows, failures = self._tables.rows.table, self._tables.failures.table
        with self._keeping_keys():
            build(rows)
            for table in (rows, failures):
                # On shared storage another writer may be about to commit files that nothing refers to yet.
                table.optimize(cleanup_older_than=IN_USE, delete_unverified=not self._tables.shared)

    @property
    def _tables(self) -> Tables:
        if self._held is None:
            raise ClosedError(
                "a writer of an index was used after its block", remedy="write within `with store.writing()`"
            )
        return self._held

    def _put(self, table: Any, keys: Sequence[str]) -> int:
        """Append rows, or merge them where some of their keys may be there; return how many were replaced.

        Merging reads the table's keys on each commit, which is slow for a large table. The hashes in memory
        tell in advance that all keys are new, as they mostly are.
        """
        tables = self._tables
        if tables.shared:
            return self._put_shared(table, keys)
        with tables.guard, as_store_errors(tables.folder, "written"):
            tables.remember_keys()
            before = tables.rows.count
            with tables.key_hashes.adding(keys) as some_may_be_there:
                if some_may_be_there:
                    _merge(tables.rows.table, table)
                    tables.rows.refresh()
                else:
                    tables.rows.note_append(tables.rows.table.add(table).version, len(keys))
            tables.key_hashes.mark = tables.rows.mark
            return before + len(keys) - tables.rows.count

    def _put_shared(self, table: Any, keys: Sequence[str]) -> int:
        """Merge rows, since another writer may be adding the same keys; return how many were replaced.

        A row of another modality that came in between stays, and ValueError is raised.
        """
        tables = self._tables
        with tables.guard, as_store_errors(tables.folder, "written"):
            seen, known = tables.rows.version, tables.key_hashes.mark == tables.rows.mark
            merge = tables.rows.table.merge_insert("key")
            merge = merge.when_matched_update_all(where="target.modality = source.modality")
            merged = merge.when_not_matched_insert_all().execute(table)
            tables.rows.refresh()
            if known and tables.rows.version == merged.version == seen + 1:
                tables.key_hashes.add(keys)
                tables.key_hashes.mark = tables.rows.mark
        if merged.num_updated_rows + merged.num_inserted_rows < len(keys):
            modality = unescape_surrogates(table.column("modality")[0].as_py())
            for key, row in tables.look_up(keys)[0].items():
                if unescape_surrogates(row.modality) != modality:
                    held = unescape_surrogates(row.modality)
                    raise another_modality(unescape_surrogates(key), held, modality)
        return int(merged.num_updated_rows)

    def _add_columns(self, rows: NewRows) -> tuple[Any, dict[str, Any]]:
        """Add the columns that metadata needs; return the schema, and all columns but the vectors."""
        schema = self._tables.rows.schema
        fields = []
        if rows.metadata is not None:
            places = range(len(rows.keys)) if rows.places is None else rows.places
            fields = new_columns(schema, rows.metadata, places)
        for field in fields:
            schema = schema.append(field)
        columns = rows.columns(schema)  # which may fail, so it comes before the table changes
        if fields:
            with self._keeping_keys():
                self._tables.rows.table.add_columns(fields)
        return self._tables.rows.schema, columns

    def _delete(self, table: LatestTable, keys: Sequence[str]) -> int:
        return sum(
            self._delete_where(table, is_one_of("key", keys[start : start + KEYS_IN_CONDITION]))
            for start in range(0, len(keys), KEYS_IN_CONDITION)
        )

    def _delete_where(self, table: LatestTable, condition: str) -> int:
        with self._keeping_keys():
            if not table.table.count_rows(condition):  # for LanceDB commits a deletion of nothing, too
                return 0
            return int(table.table.delete(condition).num_deleted_rows)

    @contextmanager
    def _keeping_keys(self) -> Iterator[None]:
        """Make a commit that adds no keys, so that the hashes in memory, if current, hold for it as well.

        Those of deleted rows stay among them: a hash says only that a key may be there.
        """
        tables = self._tables
        with tables.guard, as_store_errors(tables.folder, "written"):
            current = tables.key_hashes.mark == tables.rows.mark
            yield
            tables.refresh()
            if current and not tables.shared:
                tables.key_hashes.mark = tables.rows.mark


def another_modality(key: str, held: str, given: str) -> ValueError:
    """Make the error for a key that a row of one modality has, and an item of another is to get."""
    return ValueError(
        f"the key {key!r:.200} is that of a row of {held}, and an item of {given} can't take its place: give "
        "it another key, or delete that row first"
    )


def _merge(table: Any, rows: Any) -> None:
    table.merge_insert("key").when_matched_update_all().when_not_matched_insert_all().execute(rows)


def _table(columns: Mapping[str, Any], schema: Any) -> Any:
    import pyarrow as pa

    return pa.table([columns[name] for name in schema.names], schema=schema)
