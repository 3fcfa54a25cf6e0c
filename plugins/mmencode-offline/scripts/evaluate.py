"""Measure the offline space on photographs and recordings with labels, by the public API alone.

    python scripts/evaluate.py --data DIR

DIR has `photos/labels.csv` (file, label, coarse_label, which may be empty) and `sounds/labels.csv` (file,
label), with the files next to them.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

import mmencode

Row = dict[str, str]


def rows(folder: Path) -> list[Row]:
    """The lines of a folder's labels.csv, `file` made a path."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return [{**row, "file": str(folder / row["file"])} for row in csv.DictReader(file)]


def zero_shot(space: mmencode.Space, modality: str, items: list[Row], column: str) -> float:
    """The share of items whose best label among all of that column is their own."""
    truth = [row[column] for row in items]
    classifier = space.classifier(sorted(set(truth)))
    found = classifier.classify(modality, [row["file"] for row in items]).best
    return float(np.mean([one == other for one, other in zip(found, truth, strict=True)]))


def recall(space: mmencode.Space, items: list[Row]) -> dict[int, float]:
    """How often a photograph is among the first 1 and 5 that its own label finds."""
    queries = space.encode("text", [f"a photo of a {row['label']}" for row in items])
    photos = space.encode("image", [row["file"] for row in items])
    scores = mmencode.similarity(queries, photos)  # [queries, photos]
    rank = (scores > np.diag(scores)[:, None]).sum(axis=1)
    return {k: float((rank < k).mean()) for k in (1, 5)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder with photos/ and sounds/")
    data: Path = parser.parse_args().data
    photos, sounds = rows(data / "photos"), rows(data / "sounds")
    coarse = [row for row in photos if row["coarse_label"]]
    with mmencode.load("offline") as space:
        top = zero_shot(space, "image", coarse, "coarse_label")
        heard = zero_shot(space, "audio", sounds, "label")
        found = recall(space, photos)
    print(f"photos, coarse label, zero-shot top-1   {top:.1%} of {len(coarse)}")
    print(f"sounds, own label, zero-shot top-1      {heard:.1%} of {len(sounds)}")
    for k, share in found.items():
        print(f"photos by their own label, recall@{k}     {share:.1%} of {len(photos)}")


if __name__ == "__main__":
    main()
