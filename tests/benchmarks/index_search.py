"""Search in an index against faiss, plain LanceDB and the bare product: recall and latency.

python tests/benchmarks/index_search.py [--rows 1000000] [--small 10000 100000] [--queries 100] [--rounds 3]

Vectors are synthetic: unit vectors around as many centres as a thousandth of them, the centres around a few
of their own. Recall is against the exact answer. Among --rows, every side answers the same queries one at a
time; 0 leaves that out. The numbers behind --small are those of indexes that fit into memory: there queries
come one at a time and 256 at once, and the bare product has all rows in one array already.
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
import torch
from common import machine, table, timed

import mmencode
from mmencode import Embeddings, Index, Space
from mmencode.embeddings import search as of_embeddings
from mmencode.index.ann import METRIC, PARTITIONS, REFINED, search_approximately

K, BATCH, AT_ONCE = 10, 10_000, 256
Found = Callable[[np.ndarray], list[str]]
FoundOfMany = Callable[[np.ndarray], "list[list[str]]"]


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
        search = search.bypass_vector_index() if exact else search_approximately(search, many=False)
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


def sides_in_memory(vectors: np.ndarray, index: Index, on_disk: Index) -> dict[str, FoundOfMany]:
    """The bare product with the best of each query, mmencode on arrays, on an index, and faiss."""
    space, tensor = index.card.id, torch.from_numpy(vectors)
    corpus = Embeddings(vectors, space=space, modality="image")
    flat = faiss.IndexFlatIP(vectors.shape[1])
    graph = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = 100, 64
    for built in (flat, graph):
        built.add(vectors)
    plain = lancedb.connect(index.path).open_table("rows")

    def texts(places: np.ndarray) -> list[list[str]]:
        return [[str(place) for place in row] for row in places.tolist()]

    def by_numpy(queries: np.ndarray) -> list[list[str]]:
        scores = queries @ vectors.T
        places = np.argpartition(-scores, K, axis=1)[:, :K]
        order = np.argsort(-np.take_along_axis(scores, places, axis=1), axis=1)
        return texts(np.take_along_axis(places, order, axis=1))

    def by_lancedb(queries: np.ndarray) -> list[list[str]]:
        asked = [plain.search(query).distance_type(METRIC).select(["key", "_distance"]) for query in queries]
        return [search.limit(K).to_arrow().column("key").to_pylist() for search in asked]

    def by(searched: Index) -> FoundOfMany:
        def found(queries: np.ndarray) -> list[list[str]]:
            hits = searched.search_embeddings(Embeddings(queries, space=space, modality="text"), K)
            return [[hit.key for hit in row] for row in hits]

        return found

    def by_search(queries: np.ndarray) -> list[list[str]]:
        return texts(of_embeddings.search(Embeddings(queries, space=space, modality="text"), corpus, K).rows)

    return {
        "numpy's product, argpartition": by_numpy,
        "torch's product, topk": lambda q: texts((torch.from_numpy(q) @ tensor.T).topk(K).indices.numpy()),
        "mmencode.search": by_search,
        "mmencode.Index, in memory": by(index),
        "mmencode.Index, memory=0": by(on_disk),
        "plain LanceDB": by_lancedb,
        "faiss, flat": lambda queries: texts(flat.search(queries, K)[1]),
        "faiss, HNSW": lambda queries: texts(graph.search(queries, K)[1]),
    }


def print_small(space: Space, rows: int, rounds: int) -> None:
    """Print the table of an index that fits into memory."""
    vectors, queries = (clustered(count, space.dim, seed, rows) for count, seed in ((rows, 1), (AT_ONCE, 2)))
    with (
        tempfile.TemporaryDirectory() as folder,
        Index.create(Path(folder) / "index", space) as index,
        Index.open(index.path, space=space, memory=0) as on_disk,
    ):
        fill(index, vectors)
        sides = sides_in_memory(vectors, index, on_disk)
        found = {name: side(queries) for name, side in sides.items()}  # which also fills the memory
        taken: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in sides}
        for turn in range(rounds):
            for name, side in sides.items():
                side(queries[:1])  # while the threads of the side before still look out for work
                for single in queries[5 * turn : 5 * turn + 5]:
                    taken[name][0].append(timed(lambda side=side, query=single[None]: side(query)))
                if turn < (1 if "LanceDB" in name else rounds):  # which has no search by many at once
                    taken[name][1].append(timed(lambda side=side: side(queries)))
        held = index.state().held / 2**20
    truth = [set(row) for row in found["mmencode.search"]]
    lines = [("side", f"recall@{K}", "ms for one", "÷ product", f"ms for {AT_ONCE}", "÷ product")]
    bare = [
        min(statistics.median(taken[name][kind]) for name in list(sides)[:2]) for kind in (0, 1)
    ]  # the quicker of the two
    for name, rounds_taken in taken.items():
        share = [len(set(row) & best) / K for row, best in zip(found[name], truth, strict=True)]
        medians = [statistics.median(seconds) for seconds in rounds_taken]
        figures = [
            (f"{1000 * took:.2f}", f"{took / best:.2f}") for took, best in zip(medians, bare, strict=True)
        ]
        lines.append((name, f"{statistics.mean(share):.3f}", *figures[0], *figures[1]))
    table(f"Among {rows} vectors of {space.dim}, of which the index holds {held:.0f} MiB in memory", lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--small", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    print(machine("lancedb", "faiss-cpu", "mmencode"))
    with mmencode.load("default") as space:
        for rows in asked.small:
            print_small(space, rows, asked.rounds)
    if asked.rows:
        print_large(asked)


def print_large(asked: argparse.Namespace) -> None:
    """Print the table of an index that is searched approximately."""
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
