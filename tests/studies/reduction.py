"""How many of the ten nearest neighbours an autoencoder keeps, principal components and truncation.

python tests/studies/reduction.py [--every 2]

Texts are the definitions of WordNet that timm ships, their vectors the default space's. A tenth of them is
held out of the fits and looks for its neighbours among the others.
"""

from __future__ import annotations

import argparse

import numpy as np
from timm.data import ImageNetInfo

import mmencode
from mmencode import Embeddings

DIMS = (2, 8, 16, 32, 64, 128)
K = 10


def corpus(every: int) -> Embeddings:
    """The vectors of every so many definitions."""
    info = ImageNetInfo("imagenet-22k")
    lines = [info.index_to_description(index, detailed=True) for index in range(0, 21841, every)]
    with mmencode.load("default") as space:
        return space.encode("text", lines)


def kept(whole: tuple[Embeddings, Embeddings], small: tuple[Embeddings, Embeddings]) -> float:
    """The share of the queries' neighbours, by the whole vectors, that the small ones find, too."""
    truth, found = (mmencode.search(queries, rows, K).positions for queries, rows in (whole, small))
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(truth, found, strict=True)]))


def measure(rows: Embeddings, dims: tuple[int, ...]) -> list[tuple[int, dict[str, float]]]:
    """The shares that are kept by each way, for each number of numbers."""
    held_out = np.random.default_rng(0).permutation(len(rows)) < len(rows) // 10
    queries, fit = rows[held_out], rows[~held_out]
    found = []
    for dim in dims:
        shares = {}
        for name, epochs in (("autoencoder", 300), ("principal components", 0)):
            model = mmencode.autoencode(fit, dim, epochs=epochs)
            shares[name] = kept((queries, fit), (model.reduce(queries), model.reduce(fit)))
        shares["truncation"] = kept(
            (queries, fit), (queries.truncate(dim, force=True), fit.truncate(dim, force=True))
        )
        found.append((dim, shares))
    return found


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=2)
    rows = corpus(parser.parse_args().every)
    print(f"{len(rows)} definitions of {rows.dim} numbers, a tenth of them as queries\n")
    print("| numbers | autoencoder | principal components | truncation |\n|---|---|---|---|")
    for dim, shares in measure(rows, DIMS):
        print(f"| {dim} | {' | '.join(f'{100 * share:.0f} %' for share in shares.values())} |")


if __name__ == "__main__":
    main()
