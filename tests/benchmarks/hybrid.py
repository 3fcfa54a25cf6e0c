"""Search by vectors, by full text and by both: the share of the rows sought that each finds, and the time.

python tests/benchmarks/hybrid.py [--documents 3000] [--queries 300] [--rows 100000] [--rounds 5]

Docstrings: what Python's own library and NumPy say of their functions, without the first sentence, which is
the query that has to find the rest. Names: the names of functions that an own docstring alone has. Synonyms:
sentences of which each has a twin that means the same in other words. Numbers: sentences alike but for the
number of an invoice. Vectors are those of the default space. The time is that of the search alone, with
encoded queries, among --rows random vectors with captions of words that are as often as Zipf's law says.
"""

from __future__ import annotations

import argparse
import inspect
import pkgutil
import random
import re
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
from common import machine, table, timed

import mmencode
from mmencode import Embeddings, Index, Space

K = 10
SIDES = ("vectors", "English text", "both", "text of no language", "both of these")
SKIPPED = re.compile(r"(^|\.)(_|test|idlelib|antigravity|this|turtledemo|lib2to3|f2py|conftest)")
TWINS = (
    ("the kitten", "the young cat"),
    ("the physician", "the doctor"),
    ("the automobile", "the car"),
    ("the child", "the little boy"),
    ("the ship", "the big boat"),
    ("the cook", "the chef"),
    ("the dwelling", "the house"),
    ("the bike", "the bicycle"),
)
DEEDS = (
    ("is very big", "is huge"),
    ("is asleep", "sleeps deeply"),
    ("was bought", "was purchased"),
    ("is quick", "moves fast"),
    ("was fixed", "has been repaired"),
    ("looks joyful", "seems happy"),
)
PLACES = (
    ("close to the ocean", "by the sea"),
    ("in the woods", "among the trees"),
    ("at dusk", "as evening falls"),
    ("in the city", "downtown"),
)
Task = tuple[list[str], list[str]]  # queries, and the documents whose first ones they seek, in their order


def docstrings(most: int) -> list[tuple[str, str, str]]:
    """Name, first sentence and the rest of the docstrings of functions and classes, none of them twice."""
    found: dict[str, tuple[str, str, str]] = {}
    for name in _modules():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                module = import_module(name)
            except BaseException:
                continue
        for title, value in sorted(vars(module).items(), key=lambda entry: entry[0]):
            if title.startswith("_") or not callable(value) or getattr(value, "__module__", "") is None:
                continue
            written = getattr(value, "__doc__", None)
            said = inspect.cleandoc(written) if isinstance(written, str) else ""
            first, _, rest = said.partition("\n\n")
            words = " ".join(rest.split())
            if 5 <= len(first.split()) <= 30 and len(words) >= 200 and first not in found:
                found[first] = (title, " ".join(first.split()), words[:1500])
    chosen = sorted(found.values())
    random.Random(0).shuffle(chosen)
    return chosen[:most]


def _modules() -> list[str]:
    inside = [each.name for each in pkgutil.walk_packages(np.__path__, "numpy.", onerror=lambda name: None)]
    return [name for name in (*sorted(sys.stdlib_module_names), *inside) if not SKIPPED.search(name)]


def tasks(documents: int, queries: int) -> dict[str, Task]:
    """The tasks by name; the query at each place seeks the document at that place."""
    draw = random.Random(1)
    read = docstrings(documents)
    rest = [words for _, _, words in read]
    told = [f"{name}: {words}" for name, _, words in read]
    rare = [
        place
        for place, (name, _, _) in enumerate(read)
        if len(name) > 5 and sum(name.lower() in other.lower() for other in told) == 1
    ][:queries]
    others = [place for place in range(len(read)) if place not in set(rare)]
    twins = [
        tuple(" ".join(part) for part in zip(who, does, where, strict=True))
        for who in TWINS
        for does in DEEDS
        for where in PLACES
    ]
    draw.shuffle(twins)
    numbers = draw.sample(range(10_000, 99_999), 2000)
    return {
        "docstrings": ([first for _, first, _ in read[:queries]], rest),
        "names": (
            [f"how do I use {read[place][0]}?" for place in rare],
            [told[place] for place in (*rare, *others)],
        ),
        "synonyms": ([first for first, _ in twins], [second for _, second in twins]),
        "numbers": (
            [f"has invoice {number} been paid?" for number in numbers[:queries]],
            [f"Invoice {number} for services in the last quarter." for number in numbers],
        ),
    }


def recalls(space: Space, task: Task, folder: Path) -> list[tuple[float, float]]:
    """The shares of queries whose document is first, and among the first ten, by each of SIDES."""
    queries, documents = task
    keys = [f"{place:05}" for place in range(len(documents))]
    order = random.Random(2).sample(keys, len(keys))  # so that ties by key help nobody
    with Index.create(folder / "index", space) as index:
        index.add("text", documents, keys=order, keep_text=True)
        vectors = space.encode("text", queries, role="query")
        sides: list[Sequence[Sequence[mmencode.index.Hit | mmencode.index.RankedHit]]] = [
            index.search_embeddings(vectors, K)
        ]
        for language in ("English", ""):
            index.build_full_text(language=language)
            sides += [index.search_text(queries, K), index.search_hybrid(queries, K, vectors=vectors)]
    found = []
    for side in sides:
        places = [
            [hit.key for hit in hits].index(key) if key in {hit.key for hit in hits} else K
            for key, hits in zip(order, side, strict=False)
        ]
        found.append(
            (statistics.mean(place == 0 for place in places), statistics.mean(place < K for place in places))
        )
    return found


def fill(index: Index, rows: int, dim: int) -> tuple[Embeddings, list[str]]:
    """Fill an index with random vectors and captions; queries of five words each, with vectors."""
    numbers = np.random.default_rng(0)
    chance = 1 / np.arange(1, 50_001)
    chance /= chance.sum()

    def captions(count: int, words: int) -> list[str]:
        drawn = numbers.choice(len(chance), (count, words), p=chance)
        return [" ".join(f"word{word}" for word in row) for row in drawn]

    def vectors(count: int, keys: list[str] | None = None) -> Embeddings:
        drawn = numbers.standard_normal((count, dim), dtype=np.float32)
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        return Embeddings(drawn, space=index.card.id, modality="image", keys=keys)

    for start in range(0, rows, 10_000):
        count = min(10_000, rows - start)
        keys = [str(number) for number in range(start, start + count)]
        index.add_embeddings(
            vectors(count, keys), metadata=[{"caption": text} for text in captions(count, 20)]
        )
    index.compact()
    return vectors(200), captions(200, 5)


def print_times(space: Space, rows: int, rounds: int, folder: Path) -> None:
    """Print the milliseconds for one query, and their ratio to those of vectors alone."""
    with Index.create(folder / "large", space) as index:
        asked, words = fill(index, rows, space.dim)
        seconds = timed(lambda: index.build_full_text("caption"))
        _ = index.search_embeddings(asked[:8])  # from now on rows are held in memory, if they fit
        sides: dict[str, Callable[[int], object]] = {
            "vectors": lambda at: index.search_embeddings(asked[at : at + 1], K),
            "full text": lambda at: index.search_text(words[at : at + 1], K),
            "hybrid": lambda at: index.search_hybrid(words[at : at + 1], K, vectors=asked[at : at + 1]),
        }
        taken: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(rounds):
            for at in range(20):
                for name, side in sides.items():
                    place = (20 * turn + at) % 200
                    taken[name].append(timed(lambda side=side, place=place: side(place)))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    lines = [("side", "ms for one", "÷ vectors")]
    lines += [
        (name, f"{1000 * median:.2f}", f"{median / medians['vectors']:.2f}")
        for name, median in medians.items()
    ]
    table(
        f"Time among {rows} rows of {space.dim} numbers and 20 words; {seconds:.1f} s to make the full text",
        lines,
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--documents", type=int, default=3000, help="docstrings to search at most")
    parser.add_argument("--queries", type=int, default=300, help="queries of each task at most")
    parser.add_argument("--rows", type=int, default=100_000, help="rows among which time is measured")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of 20 queries")
    asked = parser.parse_args()
    print(machine("lancedb", "mmencode"))
    with mmencode.load("default", device="cpu") as space, tempfile.TemporaryDirectory() as folder:
        lines = [
            (
                "task",
                "queries",
                "documents",
                *SIDES,
            )
        ]
        for name, task in tasks(asked.documents, asked.queries).items():
            (Path(folder) / name).mkdir()
            shares = recalls(space, task, Path(folder) / name)
            counts = str(len(task[0])), str(len(task[1]))
            lines.append((name, *counts, *(f"{first:.2f} / {among:.2f}" for first, among in shares)))
        table(f"Share of queries whose document comes first, and among the first {K}", lines)
        print_times(space, asked.rows, asked.rounds, Path(folder))


if __name__ == "__main__":
    main()
