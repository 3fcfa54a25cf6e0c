"""Search in an index against faiss and against plain LanceDB on the same table: recall and latency.

python tests/benchmarks/index_search.py [--rows 1000000] [--queries 100] [--rounds 3]

Vectors are synthetic: unit vectors around as many centres as a thousandth of them, the centres around a few
of their own. Every side answers the same queries one at a time; recall is against the exact answer.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import lancedb
import numpy as np
from common import machine, table, timed

import mmencode
from mmencode import Embeddings, Index, Space
from mmencode.index.ann import METRIC, PARTITIONS, REFINED, search_approximately

K, BATCH = 10, 10_000
Found = Callable[[np.ndarray], list[str]]


def clustered(count: int, dim: int, seed: int, rows: int) -> np.ndarray:
    """Unit vectors `[count, dim]` of the distribution of `rows` rows; `seed` says which."""
    shared = np.random.default_rng(0)
    kinds = shared.standard_normal((32, dim), dtype=np.float32)
    centres = kinds[shared.integers(0, 32, max(100, rows // 1000))]
    centres = centres + shared.standard_normal(centres.shape, dtype=np.float32)
    draw = np.random.default_rng(seed)
    vectors = centres[draw.integers(0, len(centres), count)]
    vectors += 1.2 * draw.standard_normal(vectors.shape, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def fill(index: Index, vectors: np.ndarray) -> float:
    """Add them, a batch at a time, and let the index build what it builds; the seconds that takes."""

    def add() -> None:
        for at in range(0, len(vectors), BATCH):
            part = vectors[at : at + BATCH]
            keys = [str(number) for number in range(at, at + len(part))]
            index.add_embeddings(Embeddings(part, space=index.card.id, modality="image", keys=keys))
        index.compact()

    return timed(add)


def sides_of_index(index: Index, space: Space) -> dict[str, Found]:
    """The index and LanceDB itself on its table, exact and approximate."""
    rows = lancedb.connect(index.path).open_table("rows")

    def plain(query: np.ndarray, *, exact: bool) -> list[str]:
        search = rows.search(query).distance_type(METRIC)
        search = search.bypass_vector_index() if exact else search_approximately(search)
        found = search.select(["key", "modality", "_distance"]).limit(K).to_arrow()
        return [row["key"] for row in found.to_pylist()]

    def ours(query: np.ndarray, *, exact: bool) -> list[str]:
        asked = Embeddings(query[None], space=space.id, modality="text")
        return [hit.key for hit in index.search_embeddings(asked, K, exact=exact)[0]]

    return {
        "plain LanceDB, exact": lambda query: plain(query, exact=True),
        "mmencode.Index, exact": lambda query: ours(query, exact=True),
        "plain LanceDB, approximate": lambda query: plain(query, exact=False),
        "mmencode.Index, approximate": lambda query: ours(query, exact=False),
    }


def sides_of_faiss(vectors: np.ndarray) -> tuple[dict[str, Found], dict[str, float]]:
    """Faiss's flat, IVF-PQ and HNSW indexes in memory, and the seconds that each took to build."""
    count, dim = vectors.shape
    cells = round(math.sqrt(count))
    quantizer = faiss.IndexFlatIP(dim)
    coded = faiss.IndexIVFPQ(quantizer, dim, cells, dim // 8, 8, faiss.METRIC_INNER_PRODUCT)
    coded.nprobe = PARTITIONS
    rescored = faiss.IndexRefineFlat(coded)
    rescored.k_factor = REFINED
    graph = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = 100, 64
    built: dict[str, Any] = {
        "faiss, flat": faiss.IndexFlatIP(dim),
        "faiss, IVF-PQ, scored again": rescored,
        "faiss, HNSW": graph,
    }

    def build(index: Any) -> None:
        index.train(vectors[:: max(1, count // (40 * cells))])
        index.add(vectors)

    seconds = {name: timed(lambda index=index: build(index)) for name, index in built.items()}

    def search(index: Any) -> Found:
        return lambda query: [str(number) for number in index.search(query[None], K)[1][0].tolist()]

    return {name: search(index) for name, index in built.items()}, seconds


def measured(sides: dict[str, Found], queries: np.ndarray, rounds: int) -> dict[str, tuple[float, float]]:
    """Each side's recall against the first, and its median milliseconds for one query."""
    truth = [set(sides["faiss, flat"](query)) for query in queries]
    recall = {
        name: statistics.mean(
            len(set(search(query)) & best) / K for query, best in zip(queries, truth, strict=True)
        )
        for name, search in sides.items()
    }
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for query in queries:  # all sides in turn: the machine's speed drifts
            for name, search in sides.items():
                taken[name].append(timed(lambda search=search, query=query: search(query)))
    return {name: (recall[name], 1000 * statistics.median(taken[name])) for name in sides}


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    print(machine("lancedb", "faiss-cpu", "mmencode"))
    with (
        mmencode.load("default") as space,
        tempfile.TemporaryDirectory() as folder,
        Index.create(Path(folder) / "index", space) as index,
    ):
        vectors = clustered(asked.rows, space.dim, 1, asked.rows)
        queries = clustered(asked.queries, space.dim, 2, asked.rows)
        sides, seconds = sides_of_faiss(vectors)
        seconds["mmencode.Index, approximate"] = fill(index, vectors)
        sides |= sides_of_index(index, space)
        found = measured(sides, queries, asked.rounds)
    exact, near = (found[f"plain LanceDB, {kind}"][1] for kind in ("exact", "approximate"))
    lines = [("side", f"recall@{K}", "ms", "÷ plain LanceDB", "seconds to build")]
    for name, (recall, took) in found.items():
        against = f"{took / (near if 'approximate' in name else exact):.2f}" if "faiss" not in name else ""
        built = f"{seconds[name]:.0f}" if name in seconds else ""
        lines.append((name, f"{recall:.3f}", f"{took:.2f}", against, built))
    table(f"One query among {asked.rows} vectors of {vectors.shape[1]}", lines)


if __name__ == "__main__":
    main()
