"""How often recordings get their own label: by prompts, and by one to four examples of each label.

Each figure is the mean over random draws of the examples, of all recordings that aren't among them.

python tests/studies/fewshot.py --data DIR [--draws 10]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from media import labelled

import mmencode
from mmencode.zeroshot import Classifier

PRIORS = (1.0, 2.0, 4.0, 8.0, 16.0)
SHOTS = (1, 2, 4)


def accuracy(classifier: Classifier, vectors: mmencode.Embeddings, truth: list[str]) -> float:
    """The share of rows whose best label is theirs."""
    best = classifier.rank(vectors).best
    return float(np.mean([found == label for found, label in zip(best, truth, strict=True)]))


def drawn(truth: list[str], shots: int, seed: int) -> np.ndarray:
    """A mask of `shots` random rows of each label."""
    draw, places = np.random.default_rng(seed), np.array(truth)
    chosen = [draw.permutation(np.flatnonzero(places == label))[:shots] for label in sorted(set(truth))]
    return np.isin(np.arange(len(truth)), np.concatenate(chosen))


def learned(
    classifier: Classifier,
    vectors: mmencode.Embeddings,
    truth: list[str],
    shots: int,
    draws: int,
    **how: object,
) -> float:
    """The mean accuracy of a method on the rows that aren't its examples."""
    found, labels = [], np.array(truth)
    for seed in range(draws):
        mask = drawn(truth, shots, seed)
        trained = classifier.with_examples("audio", vectors[mask], labels[mask].tolist(), **how)
        found.append(accuracy(trained, vectors[~mask], labels[~mask].tolist()))
    return float(np.mean(found))


def main() -> None:
    """Print one line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder with labelled sounds/")
    parser.add_argument("--draws", type=int, default=10)
    options = parser.parse_args()
    files, truth = labelled(options.data / "sounds", "label")
    space = mmencode.load("default")
    vectors, labels = space.encode("audio", files), sorted(set(truth))
    for templates in (None, "sounds", "simple"):
        found = accuracy(space.classifier(labels, templates), vectors, truth)
        print(f"prompts, templates {templates}: {100 * found:.1f} %")
    classifier = space.classifier(labels)
    print(classifier.calibrate("audio", vectors, truth).calibrations["audio"])
    ways: list[dict[str, object]] = [{"method": "blend", "prior": prior} for prior in PRIORS]
    for how in [*ways, {"method": "mean"}, {"method": "probe"}]:
        shares = [learned(classifier, vectors, truth, shots, options.draws, **how) for shots in SHOTS]
        print(
            how, *(f"{shots} each: {100 * share:.1f} %" for shots, share in zip(SHOTS, shares, strict=True))
        )


if __name__ == "__main__":
    main()
