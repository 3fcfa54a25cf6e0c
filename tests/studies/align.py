"""Photographs to the texts of their labels: projections fitted to pairs, beside the label-anchored one.

python tests/studies/align.py --data DIR

DIR has photos/ with its labels.csv, whose column coarse_label may be empty. Every photograph is held out
once; it looks for its text among those of its fold. "kinds" are the coarse labels, of which several
photographs have the same, and the label where there is none; with "labels" no held-out text was ever seen.
The label-anchored projection, which is fitted to no pairs, looks among the same ones. Chance counts that some
texts are the same.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

from media import labelled

import mmencode
from mmencode.errors import FitError
from mmencode.spaces.alignment import FitMethod, hash_item, split
from mmencode.spaces.recall import Recall, recall

ENCODER = "offline/efficientnet-lite0"
Pair = tuple[Path, str]


def main() -> None:
    """Print a table, and what becomes of shuffled pairs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data / "photos"
    print("| texts | projection | recall@1 | 95 % | recall@5 | chance @1 |\n|---|---|---|---|---|---|")
    with mmencode.load("default", dtype="float32") as space:
        for texts, columns in {"kinds": ("coarse_label", "label"), "labels": ("label",)}.items():
            pairs = pairs_of(folder, columns)
            for method in ("ridge", "procrustes", "contrastive"):
                print(row(texts, method, aligned(space, pairs, method)))
            print(row(texts, "label-anchored, without pairs", anchored(space, pairs).to_dict()))
        print(f"\nShuffled pairs: {shuffled(space, pairs_of(folder, ('coarse_label', 'label')))}")


def pairs_of(folder: Path, columns: tuple[str, ...]) -> list[Pair]:
    """Photographs with their labels."""
    photos, labels = labelled(folder, *columns)
    return list(zip(photos, labels, strict=True))


def aligned(space: mmencode.Space, pairs: list[Pair], method: FitMethod) -> dict[str, Any]:
    """What a fit gives from held-out photographs to their texts, also where it is no better than chance."""
    found: dict[str, Any] = mmencode.align(ENCODER, space, pairs, method=method, force=True).report["forward"]
    return found


def row(texts: str, name: str, found: dict[str, Any]) -> str:
    """A line of the table, of a Recall as plain values."""
    low, high = found["interval"]
    at, chance = ({int(k): share for k, share in found[key].items()} for key in ("at", "chance"))
    one, low, high, five, blind = (f"{100 * share:.1f}" for share in (at[1], low, high, at[5], chance[1]))
    return f"| {texts} | {name} | {one} % | {low} to {high} % | {five} % | {blind} % |"


def anchored(space: mmencode.Space, pairs: list[Pair]) -> Recall:
    """What the space's own image side makes of the same photographs, in the same folds."""
    photos = space.encode("image", [photo for photo, _ in pairs]).vectors
    texts = space.encode("text", [text for _, text in pairs]).vectors
    folds = split([(photos, texts, [hash_item(photo, "image", 0) for photo, _ in pairs])], folds=5, seed=0)
    return recall((fold.rows()[0].numpy(), fold.rows()[1].numpy()) for fold in folds)


def shuffled(space: mmencode.Space, pairs: list[Pair]) -> str:
    """The error that pairs which don't belong together give."""
    texts = [text for _, text in pairs]
    random.Random(1).shuffle(texts)
    try:
        mmencode.align(ENCODER, space, list(zip([photo for photo, _ in pairs], texts, strict=True)))
    except FitError as error:
        return f"refused. {error.fact}"
    return "accepted"


if __name__ == "__main__":
    main()
