"""The pictures of docs/uses.md and docs/which-encoder.md, drawn from what the pages' examples compute.

python tests/studies/pictures.py [FOLDER]

Needs the default space and matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from timm.data import ImageNetInfo

import mmencode

matplotlib.use("Agg")
from matplotlib import pyplot

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
KINDS = {
    "dogs": "dog",
    "birds": "bird",
    "fishes": "fish",
    "trees": "tree",
    "ferns": "fern",
    "garments": "garment",
    "people": "someone who",
}
SENTENCES = [
    "the muddy bank of the river",
    "the grassy bank of the stream",
    "the central bank of the country",
    "the savings bank of the town",
]


def autoencoder(space: mmencode.Space, path: Path, every: int = 4, epochs: int = 100) -> None:
    """Two numbers for each definition: by principal components, and by the autoencoder that begins there."""
    info = ImageNetInfo("imagenet-22k")
    lines = [info.index_to_description(index, detailed=True) for index in range(0, 21841, every)]
    rows = space.encode("text", lines)
    model = mmencode.autoencode(rows, 2, epochs=epochs)
    kinds = [[word in line.partition(": ")[2] for line in lines] for word in KINDS.values()]
    once = np.array(kinds).sum(axis=0) == 1  # a definition that names two of them would be of two colours
    figure, sides = pyplot.subplots(1, 2, figsize=(11, 5))
    ways = {"pca": mmencode.autoencode(rows, 2, epochs=0), "autoencoder": model}
    for side, (way, fitted) in zip(sides, ways.items(), strict=True):
        codes = fitted.codes(rows)
        for name, kind in zip(KINDS, np.array(kinds), strict=True):
            chosen = codes[kind & once]
            side.scatter(*chosen.T, s=9, label=f"{name} ({len(chosen)})")
        words = {"pca": "principal components", "autoencoder": "autoencoder"}[way]
        side.set_title(f"{words}: {model.report[way]:.1%} of the variance lost")
        side.set_xticks([])
        side.set_yticks([])
    sides[1].legend(fontsize=8)
    save(figure, path)


def bank(space: mmencode.Space, path: Path) -> None:
    """The cosines between the tokens "bank" of four sentences."""
    tokens = space.encode_tokens("text", SENTENCES)
    rows = np.stack([values[3] / np.linalg.norm(values[3]) for values in tokens])
    cosines = rows @ rows.T
    figure, side = pyplot.subplots(figsize=(6, 3.6))
    side.imshow(cosines, cmap="viridis", vmin=0.5, vmax=1)
    for row, values in enumerate(cosines):
        for column, value in enumerate(values):
            side.text(
                column, row, f"{value:.2f}", ha="center", va="center", color="w" if value < 0.85 else "k"
            )
    side.set_yticks(range(4), SENTENCES)
    side.set_xticks([])
    side.set_title('"bank" beside "bank"')
    save(figure, path)


def save(figure: pyplot.Figure, path: Path) -> None:
    """Write it, without the name of what drew it."""
    figure.tight_layout()
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    pyplot.close(figure)


def main() -> None:
    """Draw all into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with mmencode.load("default") as space:
        for draw in (autoencoder, bank):
            draw(space, folder / f"{draw.__name__}.png")


if __name__ == "__main__":
    main()
