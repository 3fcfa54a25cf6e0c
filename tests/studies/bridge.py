"""WordLlama's texts find photographs and sounds of the default space, over a bridge of definitions alone.

python tests/studies/bridge.py --data DIR

DIR has photos/ and sounds/, each with its labels.csv. The corpus are the synset definitions that timm ships.
No photograph and no sound is paired with anything to fit the map; "gap-corrected" also sees them without
their labels. Items look for the texts of their labels among those of all, and texts for items.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import static_text
from media import labelled
from timm.data import ImageNetInfo

import mmencode
from mmencode.spaces.alignment import FitMethod
from mmencode.spaces.recall import recall

COLUMNS = ("photo to text", "text to photo", "sound to text", "text to sound")
VARIANTS: dict[str, tuple[FitMethod, bool]] = {
    "linear": ("ridge", False),
    "linear, gap-corrected": ("ridge", True),
    "orthogonal": ("procrustes", False),
    "orthogonal, gap-corrected": ("procrustes", True),
    "network with noise": ("contrastive", False),
    "network with noise, gap-corrected": ("contrastive", True),
}


def corpus() -> list[str]:
    """The synonyms and definition of every synset of ImageNet-22k."""
    info = ImageNetInfo("imagenet-22k")
    return [info.index_to_description(index, detailed=True) for index in range(info.num_classes())]


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    pairs = pairs_of(data)
    print(f"| texts of | map | {' | '.join(COLUMNS)} |\n|---|---|---|---|---|---|")
    with (
        mmencode.load("default", dtype="float32") as default,
        mmencode.Space("wordllama", [static_text.SPEC], runtime=mmencode.Runtime("cpu", "float32")) as llama,
    ):
        for name, (method, gap) in VARIANTS.items():
            items = {modality: [item for item, _ in given] for modality, given in pairs.items()}
            with mmencode.bridge(
                "bridged",
                default,
                llama,
                corpus(),
                method=method,
                unpaired=items if gap else None,
                held_out=pairs,
            ) as space:
                said = {modality: space.projections[modality].report["held_out"] for modality in pairs}
                print(row("WordLlama", name, said), flush=True)
        print(row("MiniLM", "none: its own space", {key: found(default, key, pairs[key]) for key in pairs}))


def pairs_of(data: Path) -> dict[str, list[tuple[Path, str]]]:
    """By modality the files with their labels."""
    folders = {"image": "photos", "audio": "sounds"}
    return {
        modality: list(zip(*labelled(data / folder, "label"), strict=True))
        for modality, folder in folders.items()
    }


def found(space: mmencode.Space, modality: str, pairs: list[tuple[Path, str]]) -> dict[str, Any]:
    """How well items and the texts of their labels find each other in one space."""
    items = space.encode(modality, [item for item, _ in pairs]).vectors
    texts = space.encode("text", [label for _, label in pairs]).vectors
    return {
        "forward": recall([(items, texts)]).to_dict(),
        "backward": recall([(texts, items)], truth="queries").to_dict(),
    }


def row(texts: str, name: str, said: dict[str, Any]) -> str:
    """A line of the table: recall@1 both ways, of both modalities."""
    shares = [
        f"{100 * said[modality][way]['at']['1']:.1f} %"
        for modality in said
        for way in ("forward", "backward")
    ]
    return f"| {texts} | {name} | {' | '.join(shares)} |"


if __name__ == "__main__":
    main()
