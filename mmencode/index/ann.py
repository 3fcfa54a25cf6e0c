"""The approximate index (ANN) of a large table: when there is one, of which kind, and how it is searched.

IVF over RaBitQ codes (Gao and Long, "RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error
Bound for Approximate Nearest Neighbor Search", SIGMOD 2024), as LanceDB has it. Codes of one bit per
dimension choose candidates, which are scored again by their own vectors; short vectors have no codes. Rows
that came after the index was built are searched exactly beside it. Rows with many vectors are found by each
of the query's vectors, and LanceDB adds up what it found to an estimate of MaxSim.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

FROM_ROWS = 200_000  # fewer are searched exactly
FROM_ITEMS = 50_000  # the same of rows with many vectors each
GROWTH = 4  # the index is trained again once there are so many times the rows that it was trained on
PARTITIONS, REFINED = 40, 40  # partitions searched (nprobes); candidates scored again, in multiples of k
CANDIDATES, CANDIDATE_ITEMS = (
    128,
    256,
)  # least number of rows that are asked for, of one vector each and of many
CODED = 128  # dimensions from which codes of one bit each tell enough
METRIC = "cosine"
_NAME = "nearest_"  # followed by the number of rows that the index was trained on


def build(table: Any) -> None:
    """Build the index of a table that is large enough and has none, or has outgrown it."""
    count, trained = table.count_rows(), find_trainings(table)
    column = table.schema.field("vector").type
    many = hasattr(column.value_type, "list_size")
    if count < (FROM_ITEMS if many else FROM_ROWS) or (trained and count < GROWTH * trained[-1]):
        return
    kinds = import_module("lancedb.index")
    dim = column.value_type.list_size if many else column.list_size
    kind = kinds.IvfRq if dim >= CODED and dim % 8 == 0 else kinds.IvfFlat
    table.create_index("vector", config=kind(distance_type=METRIC), name=f"{_NAME}{count}", replace=True)
    for older in trained:
        if older != count:
            table.drop_index(f"{_NAME}{older}")


def search_approximately(search: Any, *, many: bool) -> Any:
    """Set how thoroughly LanceDB's search looks through the index.

    Of rows with many vectors each, which take long to read, only the candidates are scored again.
    """
    search = search.nprobes(PARTITIONS)
    return search if many else search.refine_factor(REFINED)


def method(table: Any) -> str:
    """The kind of the table's index, "" when there is none."""
    statistics = _statistics(table)
    return "" if statistics is None else str(statistics.index_type)


def count_covered(table: Any) -> int:
    """Count the rows in the index; 0 without one."""
    statistics = _statistics(table)
    return 0 if statistics is None else int(statistics.num_indexed_rows)


def find_trainings(table: Any) -> list[int]:
    """Find the numbers of rows that indexes were trained on: two where making the newer was interrupted."""
    names = [index.name for index in table.list_indices() if index.name.startswith(_NAME)]
    return sorted(int(name.removeprefix(_NAME)) for name in names)


def _statistics(table: Any) -> Any:
    trained = find_trainings(table)
    return table.index_stats(f"{_NAME}{trained[-1]}") if trained else None
