"""Sizes of an index of late interaction, by how it keeps vectors, and whether searches find the same still.

python tests/studies/late_sizes.py [--documents 300]

Items of 128 vectors of 128 numbers each. Their vectors are those of the words of a topic, each in a context
of its own, so that an item has alike ones, which pooling merges. A query is 4 vectors of one item in other
contexts; "first" is the share of queries whose item comes first.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from mmencode import Index, MultiEmbeddings, Space
from mmencode.plugins.spec import EncoderSpec

DIM, TOKENS, ASKED, QUERIES = 128, 128, 4, 100
CONTEXT = 1.2  # length of a context against that of a word
WAYS = tuple((precision, pool) for pool in (1, 2, 4) for precision in ("float32", "float16"))


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def in_context(words: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Vectors of words, each in a context of its own."""
    return unit(words + CONTEXT * unit(draw.standard_normal(words.shape)))


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=300)
    count = parser.parse_args().documents
    draw = np.random.default_rng(0)
    vocabulary = unit(draw.standard_normal((5000, DIM)))
    words = [vocabulary[draw.choice(draw.choice(5000, 50), TOKENS)] for _ in range(count)]
    asked = draw.choice(count, QUERIES)
    spec = EncoderSpec(
        name="random", modality="text", target="mmencode.testing:FakeMultiText", dim=DIM, outputs="many"
    )
    rows = unit(np.concatenate([in_context(item, draw) for item in words]))
    queries = unit(
        np.concatenate([in_context(words[item][draw.choice(TOKENS, ASKED)], draw) for item in asked])
    )
    print("| precision | pool | bytes for each item | first |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, Space("random", [spec]) as space:
        for precision, pool in WAYS:
            given = MultiEmbeddings(
                rows, [TOKENS] * count, space=space.id, modality="text", keys=list(map(str, range(count)))
            )
            target = Path(folder) / f"{precision}{pool}"
            with Index.create(target, space, precision=precision, pool=pool) as index:
                index.add_embeddings(given)
                index.compact()
                searched = MultiEmbeddings(queries, [ASKED] * QUERIES, space=space.id, modality="text")
                found = index.search_embeddings(searched, 1)
                first = np.mean([hits[0].key == str(item) for hits, item in zip(found, asked, strict=True)])
                print(f"| {precision} | {pool} | {index.state().bytes / count:.0f} | {first:.2f} |")


if __name__ == "__main__":
    main()
