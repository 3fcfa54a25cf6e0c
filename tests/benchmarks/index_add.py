"""Vectors into an index, against plain LanceDB writes of the same table in the same batches.

python tests/benchmarks/index_add.py [--rows 100000] [--rounds 9]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import lancedb
import numpy as np
import pyarrow as pa
from common import machine, table, timed

import mmencode
from mmencode import Embeddings, Index, Space
from mmencode.index.columns import Owner, row_schema


class Adding:
    """The same rows, a batch at a time, into an index and into a table of LanceDB's."""

    def __init__(self, folder: Path, space: Space, rows: int, batch: int) -> None:
        self.folder, self.space = folder, space
        folder.mkdir()
        vectors = np.random.default_rng(0).standard_normal((rows, space.dim), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        keys = [f"photos/{number:08}.jpg" for number in range(rows)]
        every = Embeddings(vectors, space=space.id, modality="image", keys=keys)
        self.batches = [every[at : at + batch] for at in range(0, rows, batch)]
        Index.create(folder / "empty", space).close()

    def into_index(self) -> float:
        """Into an empty index; the seconds that the writing takes."""
        with Index.open(self._fresh(), space=self.space) as index:
            return timed(lambda: [index.add_embeddings(batch) for batch in self.batches])

    def plainly(self) -> float:
        """Into an empty table with the same columns, trusting that no key is there."""
        rows = lancedb.connect(self._fresh()).open_table("rows")
        return timed(lambda: [rows.add(_rows(batch)) for batch in self.batches])

    def merged(self) -> float:
        """The same, with LanceDB's own way to keep keys unique."""
        rows = lancedb.connect(self._fresh()).open_table("rows")
        merge = rows.merge_insert("key").when_matched_update_all().when_not_matched_insert_all()
        return timed(lambda: [merge.execute(_rows(batch)) for batch in self.batches])

    def _fresh(self) -> Path:
        target = self.folder / "filled"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.folder / "empty", target)
        os.sync()  # or a side would wait for the disk to have what the one before it wrote
        return target


def _rows(batch: Embeddings) -> pa.Table:
    count, owner = len(batch), Owner.new("none")
    schema = row_schema(batch.dim, owner)
    columns = [pa.array(batch.keys), pa.array(["image"] * count), owner.layout.column(batch)]
    return pa.table([*columns, *(pa.nulls(count, field.type) for field in list(schema)[3:])], schema=schema)


def in_turn(sides: dict[str, Callable[[], float]], number: int) -> dict[str, float]:
    """The seconds of each side, which take turns in being first: the one after much writing is slower."""
    names = list(sides)
    first = number % len(names)
    return {name: sides[name]() for name in names[first:] + names[:first]}


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    print(machine("lancedb", "pyarrow", "mmencode"))
    lines = [("rows in a batch", "side", "rows/s", "÷ plain LanceDB")]
    with mmencode.load("default") as space, tempfile.TemporaryDirectory() as folder:
        for batch in (1000, 10_000):
            adding = Adding(Path(folder) / str(batch), space, asked.rows, batch)
            sides = {
                "plain LanceDB, add": adding.plainly,
                "LanceDB, merge_insert": adding.merged,
                "mmencode.Index": adding.into_index,
            }
            seconds = [in_turn(sides, number) for number in range(asked.rounds + 1)][1:]
            for name in sides:
                ratio = median(taken["plain LanceDB, add"] / taken[name] for taken in seconds)
                speed = median(asked.rows / taken[name] for taken in seconds)
                lines.append((f"{batch}", name, f"{speed:.0f}", f"{ratio:.2f}"))
    table(f"Adding {asked.rows} vectors of {adding.batches[0].dim} to an empty index", lines)


if __name__ == "__main__":
    main()
