"""The approximate index of a large table: when there is one, which, and how it is searched.

IVF with product quantisation (Jégou, Douze and Schmid, "Product Quantization for Nearest Neighbor Search",
PAMI 2011), as LanceDB has it. Codes choose candidates, which are scored again by their own vectors; rows that
came after the index was built are searched exactly beside it.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

FROM_ROWS = 200_000  # fewer are searched exactly
GROWTH = 4  # so many times the rows that it was trained on, and it is trained again
PROBES, REFINED = 40, 10
METRIC = "dot"
NAME = "vector_idx"


def build(table: Any) -> None:
    """Build the index of a table that is large enough and has none, or has outgrown it."""
    count = table.count_rows()
    if count < FROM_ROWS:
        return
    config = import_module("lancedb.index").IvfPq(
        distance_type=METRIC, num_partitions=round(math.sqrt(count)), num_sub_vectors=_parts(table)
    )
    if not method(table):
        table.create_index("vector", config=config, name=NAME, replace=True)


def _parts(table: Any) -> int:
    """Codes of one byte for each eight numbers of a vector, or as near to that as its width allows."""
    dim = int(table.schema.field("vector").type.list_size)
    return next(parts for parts in range(max(1, dim // 8), 0, -1) if dim % parts == 0)


def method(table: Any) -> str:
    """The kind of the table's index, "" when there is none."""
    found = table.index_stats(NAME) if any(index.name == NAME for index in table.list_indices()) else None
    return "" if found is None else str(found.index_type)


def covered(table: Any) -> int:
    """How many rows the index has; 0 without one."""
    found = table.index_stats(NAME) if any(index.name == NAME for index in table.list_indices()) else None
    return 0 if found is None else int(found.num_indexed_rows)
