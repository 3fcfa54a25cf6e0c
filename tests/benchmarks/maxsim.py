"""MaxSim against the bare matrix products that it is made of, and against sentence-transformers' own.

python tests/benchmarks/maxsim.py [--queries 32] [--asked 32] [--documents 10000] [--rounds 1]

Random unit vectors: each query has `--asked` of them, each document 128, of 128 numbers. The bare products
are NumPy's and torch's, of all vectors of queries with those of a few documents at a time, written into the
same memory over and over: less work than any way to the scores, which must look at each product once more.
`search` finds the ten best, exactly; sentence-transformers gives scores in float32, without a ranking. All
is on one thread and by the process's own time, so that other work on the machine counts for little. The last
table has what a search allocates beyond its arguments, by tracemalloc, which sees NumPy's arrays.
"""

from __future__ import annotations

import argparse
import os
import time
import tracemalloc
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from common import machine, ratios, table
from sentence_transformers.util import maxsim

import mmencode
from mmencode import MultiEmbeddings

DIM, TOKENS, BLOCK = 128, 128, 2**18


def items(count: int, tokens: int, seed: int) -> MultiEmbeddings:
    """Items of as many random unit vectors each."""
    vectors = np.random.default_rng(seed).standard_normal((count * tokens, DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = MultiEmbeddings(vectors, [tokens] * count, space="random@1", modality="text")
    found.require_unit()
    return found


def products_of_numpy(queries: MultiEmbeddings, documents: MultiEmbeddings) -> Callable[[], None]:
    """All products by numpy, a block at a time, in memory that is used again."""
    columns = np.ascontiguousarray(queries.vectors.T)
    step = max(1, BLOCK // columns.shape[1])
    room = np.empty((step, columns.shape[1]), np.float32)

    def run() -> None:
        for start in range(0, len(documents.vectors), step):
            rows = documents.vectors[start : start + step]
            np.matmul(rows, columns, out=room[: len(rows)])

    return run


def products_of_torch(queries: MultiEmbeddings, documents: MultiEmbeddings) -> Callable[[], None]:
    """All products by torch, as by numpy."""
    columns = torch.from_numpy(np.ascontiguousarray(queries.vectors.T))
    rows = torch.from_numpy(documents.vectors)
    step = max(1, BLOCK // columns.shape[1])
    room = torch.empty(step, columns.shape[1])

    def run() -> None:
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            torch.mm(part, columns, out=room[: len(part)])

    return run


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=32)
    parser.add_argument("--asked", type=int, default=32, help="vectors of a query")
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(machine("numpy", "torch", "sentence-transformers", "mmencode"))
    queries, documents = items(asked.queries, asked.asked, 0), items(asked.documents, TOKENS, 1)
    lists = [[torch.from_numpy(rows) for rows in side.arrays] for side in (queries, documents)]
    codes = documents.quantize("float16")
    sides: dict[str, Callable[[], object]] = {
        "bare products, torch": products_of_torch(queries, documents),
        "bare products, NumPy": products_of_numpy(queries, documents),
        "mmencode.search, exact": lambda: mmencode.search(queries, documents),
        "mmencode.search, float16 codes": lambda: mmencode.search(queries, codes),
        "mmencode.similarity, float64": lambda: mmencode.similarity(queries, documents),
        "sentence-transformers maxsim, float32": lambda: maxsim(*lists),
    }
    mmencode.search(queries, documents[:100])
    found = ratios(sides, asked.rounds, time.process_time, warm=False)
    rows = [("side", "speed ÷ bare products")]
    rows += [(name, f"{found[name]:.2f}") for name in sides]
    table(
        f"MaxSim of {asked.queries} queries of {asked.asked} vectors with {asked.documents} documents of "
        f"{TOKENS}, {DIM} wide",
        rows,
    )
    held = [("documents", "MiB at most")]
    for count in (asked.documents // 4, asked.documents):
        held.append((str(count), f"{peak(queries, documents[:count]):.1f}"))
    table("Memory that a search takes", held)


def peak(queries: MultiEmbeddings, documents: MultiEmbeddings) -> float:
    """MiB that NumPy allocates during a search, at most."""
    documents.require_unit()
    tracemalloc.start()
    mmencode.search(queries, documents)
    found = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return found


if __name__ == "__main__":
    main()
