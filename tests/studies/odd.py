"""How well odd photographs are told from usual ones: animals are usual, other things are mixed in.

python tests/studies/odd.py --data DIR

DIR has photos/ with labels.csv, whose coarse_label says what kind a photograph is of. The space is the
default one. Animals are split into five folds; each is judged by fits to the other four, beside all else.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from media import labelled
from sklearn.metrics import roc_auc_score

import mmencode
from mmencode import Embeddings

ANIMALS = (
    *("dog", "cat", "big cat", "rabbit", "cattle, sheep or goat", "monkey or ape", "bird", "fish", "snake"),
    *("lizard", "turtle", "frog or salamander", "insect", "spider or scorpion", "shellfish or crab"),
)
DIMS, FOLDS = (2, 8), 5


def areas(usual: Embeddings, odd: Embeddings) -> dict[str, list[float]]:
    """The area under the ROC curve in each fold, by each way to say how odd a vector is."""
    found: dict[str, list[float]] = {}
    order = np.random.default_rng(0).permutation(len(usual))
    for fold in np.array_split(order, FOLDS):
        held_out = np.isin(np.arange(len(usual)), fold)
        fit, test = usual[~held_out], usual[held_out]
        truth = [0] * len(test) + [1] * len(odd)
        for name, score in scores(fit, [test, odd]).items():
            found.setdefault(name, []).append(float(roc_auc_score(truth, np.concatenate(score))))
    return found


def scores(fit: Embeddings, asked: list[Embeddings]) -> dict[str, list[np.ndarray]]:
    """How odd the vectors of each set are, by each way."""
    found = {}
    for dim in DIMS:
        for name, epochs in (("autoencoder", 300), ("principal components", 0)):
            model = mmencode.autoencode(fit, dim, epochs=epochs)
            found[f"reconstruction, {name}, {dim} numbers"] = [model.errors(rows) for rows in asked]
    nearest = [-mmencode.search(rows, fit, 1).scores[:, 0] for rows in asked]
    return found | {"distance to the nearest": nearest}


def read(data: Path) -> tuple[Embeddings, Embeddings]:
    """The vectors of the animals and of everything else that has a kind."""
    files, kinds = labelled(data / "photos", "coarse_label")
    with mmencode.load("default") as space:
        rows = space.encode("image", files)
    animals = np.isin(kinds, ANIMALS)
    return rows[animals], rows[~animals]


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    usual, odd = read(parser.parse_args().data)
    print(f"{len(usual)} animals in {FOLDS} folds, {len(odd)} other things\n")
    print("| how odd a photograph is | area under the ROC curve | worst fold |\n|---|---|---|")
    for name, found in areas(usual, odd).items():
        print(f"| {name} | {np.mean(found):.3f} | {min(found):.3f} |")


if __name__ == "__main__":
    main()
