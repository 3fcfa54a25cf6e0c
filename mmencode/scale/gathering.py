"""The rows of all parts of an output, gathered in one Lance dataset beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import MmencodeError, StoreError
from ..errors.causes import message_of
from ..inputs.fragments import import_lance, lance_options
from .output import Output
from .storage import is_address

NAME = "vectors.lance"
PART = "part"
_TOP = "mmencode.fragments"  # the highest number that a fragment ever had, in the dataset's own settings
_TRIES = 10
_SCANNED = 65536  # rows whose parts' names are read at once
_ROWS = 2**20  # rows of a fragment


class Gathering:
    """The Lance dataset of an output, which has the rows of its parts, each with its part's name.

    All that is missing is added by one commit, which fails where anything else was committed meanwhile, and
    is then made anew: so no run, killed or beside another one, adds a part twice.
    """

    place: str

    def __init__(self, output: Output) -> None:
        self._lance = import_lance()
        self._output = output
        self.place = f"{output.place.rstrip('/')}/{NAME}"
        self._options = lance_options() if is_address(self.place) else None

    def drop(self, names: set[str]) -> None:
        """Take the rows of these parts out, which are to be made anew or are gone."""
        with _telling(self.place):
            dataset = self._open()
            if dataset is not None:
                self._drop(dataset, names & self._parts(dataset))

    def gather(self) -> None:
        """Add the rows of all parts that are missing, and take out those of parts that are gone."""
        there = self._output.names()
        with _telling(self.place):
            dataset = self._open()
            if dataset is not None:
                self._drop(dataset, self._parts(dataset) - there)
            for _ in range(_TRIES):
                dataset = self._open()
                missing = sorted(there - (set() if dataset is None else self._parts(dataset)))
                if not missing or self._add(dataset, missing):
                    return
        raise StoreError(
            f"others kept changing the dataset while rows were added to it, {_TRIES} times",
            culprit=self.place,
            remedy="run this again once they are done; the parts are there",
        )

    def _open(self) -> Any:
        """Open the latest version of the dataset; None where there is none yet."""
        try:
            return self._lance.dataset(self.place, storage_options=self._options)
        except (ValueError, FileNotFoundError) as cause:
            if "not found" in str(cause).lower():
                return None
            raise

    def _parts(self, dataset: Any) -> set[str]:
        """Find the names of the parts that the dataset has rows of."""
        found: set[str] = set()
        for batch in dataset.scanner(columns=[PART], batch_size=_SCANNED).to_batches():
            found.update(batch.column(PART).unique().to_pylist())
        return found

    def _drop(self, dataset: Any, names: set[str]) -> None:
        if not names:
            return
        # A fragment whose rows are all gone is gone, too, and its number must not be given again: an index
        # of the dataset's would take the new fragment for one that it covers.
        dataset.update_config({_TOP: str(self._top(dataset))})
        asked = sorted(names)
        for start in range(0, len(asked), 1024):
            listed = ", ".join(f"'{name}'" for name in asked[start : start + 1024])
            dataset.delete(f"{PART} IN ({listed})")

    def _top(self, dataset: Any) -> int:
        numbers = [each.fragment_id for each in dataset.get_fragments()]
        return int(max([int(dataset.config().get(_TOP, -1)), *numbers]))

    def _add(self, dataset: Any, names: Sequence[str]) -> bool:
        """Write the rows of these parts and commit them; false where another commit came in between."""
        import pyarrow as arrow

        tables = self._tables(names)
        first = next(tables, None)
        if first is None:
            return True
        schema = first.schema
        if dataset is None:
            self._create(schema)
            return False  # for what another run may have created and filled meanwhile is looked at first
        batches = (batch for table in _chain(first, tables) for batch in table.cast(schema).to_batches())
        reader = arrow.RecordBatchReader.from_batches(schema, batches)
        new = self._lance.fragment.write_fragments(
            reader, dataset, schema=schema, max_rows_per_file=_ROWS, storage_options=self._options
        )
        top = self._top(dataset)
        for place, fragment in enumerate(new):
            fragment.id = top + 1 + place
        old = [each.metadata for each in dataset.get_fragments()]
        # Of the operations that add rows, this one alone conflicts with every other commit of rows, of the
        # same run elsewhere as well.
        operation = self._lance.LanceOperation.Merge([*old, *new], dataset.lance_schema)
        try:
            self._lance.LanceDataset.commit(
                self.place, operation, read_version=dataset.version, storage_options=self._options
            )
        except self._lance.commit.CommitConflictError:
            return False
        return True

    def _create(self, schema: Any) -> None:
        try:
            self._lance.write_dataset(
                schema.empty_table(), self.place, schema=schema, storage_options=self._options
            )
        except OSError as cause:
            if "already exists" not in str(cause):  # by another run
                raise

    def _tables(self, names: Sequence[str]) -> Iterator[Any]:
        """Read the parts that have rows, each with its name in a column, one at a time."""
        import pyarrow as arrow

        for name in names:
            table = self._output.read_part(name)
            if table is not None and len(table):
                yield table.add_column(
                    0, arrow.field(PART, arrow.string(), nullable=False), arrow.array([name] * len(table))
                )


def _chain(first: Any, others: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from others


@contextmanager
def _telling(place: str) -> Iterator[None]:
    """Raise Lance's errors, which have no class of their own, as StoreError."""
    try:
        yield
    except (MmencodeError, GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as cause:  # a panic of Rust is no Exception
        raise StoreError(
            f"the Lance dataset can't be written: {message_of(cause)}",
            culprit=place,
            remedy="run this again: the parts are there, and what the dataset lacks of them is added",
        ) from cause
