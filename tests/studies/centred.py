"""What the correction of the modality gap gives when an index of labelled media is searched by their labels.

python tests/studies/centred.py --data DIR

DIR has photos/ and sounds/, each with its labels.csv. The space is the default one. Queries are the different
labels, each as a text; a photograph or recording is right for its own label.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from media import labelled

from mmencode.index import Index


def fill(index: Index, data: Path) -> list[str]:
    """Add photographs, recordings and their labels as texts; gives the labels."""
    found = []
    for modality, folder in (("image", "photos"), ("audio", "sounds")):
        files, labels = labelled(data / folder, "label")
        index.add(modality, files, metadata=[{"label": label} for label in labels])
        found += labels
    different = sorted(set(found))
    index.add("text", different, metadata=[{"label": label} for label in different])
    return different


def found_at(index: Index, labels: list[str], k: int, among: list[str], *, centred: bool) -> dict[str, float]:
    """How many labels find media of their own among the first k, and the share of each modality there."""
    hits = index.search("text", labels, k, among=among, centred=centred)
    right = [
        any(hit.metadata["label"] == label and hit.modality != "text" for hit in row)
        for row, label in zip(hits, labels, strict=True)
    ]
    kinds = [hit.modality for row in hits for hit in row]
    return {"right": float(np.mean(right)), **{kind: kinds.count(kind) / len(kinds) for kind in among}}


def measure(data: Path) -> list[tuple[str, int, bool, dict[str, float]]]:
    """Each search: among which rows, k, centred or not, and what it found."""
    with tempfile.TemporaryDirectory() as folder, Index.create(Path(folder) / "index") as index:
        labels = fill(index, data)
        of = {
            kind: {row["label"] for row in index.rows(f"modality = '{kind}'").metadata}
            for kind in ("image", "audio")
        }
        searches = [
            ("images by the labels of images", ["image"], sorted(of["image"])),
            ("sounds by the labels of sounds", ["audio"], sorted(of["audio"])),
            ("images and sounds by all labels", ["image", "audio"], labels),
            ("texts, images and sounds by all labels", ["text", "image", "audio"], labels),
        ]
        return [
            (name, k, centred, found_at(index, asked, k, among, centred=centred))
            for name, among, asked in searches
            for k in (1, 5)
            for centred in (False, True)
        ]


def main() -> None:
    """Print a line for each search."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    for name, k, centred, found in measure(parser.parse_args().data):
        shares = ", ".join(f"{kind} {share:.3f}" for kind, share in found.items())
        print(f"{name}, at {k}, {'centred' if centred else 'plain'}: {shares}")


if __name__ == "__main__":
    main()
