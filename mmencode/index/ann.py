"""The approximate index of a large table: when there is one, and which.

IVF over RaBitQ codes (Gao and Long, "RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error
Bound for Approximate Nearest Neighbor Search", SIGMOD 2024), as LanceDB has it. Codes of one bit for each
number choose candidates, which are scored again by their own vectors; short vectors have no codes. Rows that
came after the index was built are searched exactly beside it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

FROM_ROWS = 200_000  # fewer are searched exactly
GROWTH = 4  # so many times the rows that it was trained on, and it is trained again
PARTITIONS, REFINED = 40, 40  # visited by a search; candidates scored again, in multiples of k
CODED = 128  # numbers of a vector from which one bit for each tells enough
METRIC = "cosine"
_NAME = "nearest_"  # and the number of rows that it was trained on


def build(table: Any) -> None:
    """Build the index of a table that is large enough and has none, or has outgrown it."""
    count, held = table.count_rows(), _held(table)
    if count < FROM_ROWS or (held and count < GROWTH * held[-1]):
        return
    kinds = import_module("lancedb.index")
    dim = table.schema.field("vector").type.list_size
    kind = kinds.IvfRq if dim >= CODED and dim % 8 == 0 else kinds.IvfFlat
    table.create_index("vector", config=kind(distance_type=METRIC), name=f"{_NAME}{count}", replace=True)
    for older in held:
        if older != count:
            table.drop_index(f"{_NAME}{older}")


def method(table: Any) -> str:
    """The kind of the table's index, "" when there is none."""
    found = _statistics(table)
    return "" if found is None else str(found.index_type)


def covered(table: Any) -> int:
    """How many rows the index has; 0 without one."""
    found = _statistics(table)
    return 0 if found is None else int(found.num_indexed_rows)


def _held(table: Any) -> list[int]:
    """Of how many rows the indexes were trained; there are two when making the newer one was interrupted."""
    names = [index.name for index in table.list_indices() if index.name.startswith(_NAME)]
    return sorted(int(name.removeprefix(_NAME)) for name in names)


def _statistics(table: Any) -> Any:
    held = _held(table)
    return table.index_stats(f"{_NAME}{held[-1]}") if held else None
