"""What the prior of the default space's sounds gives on sounds that nobody chose it by.

python tests/studies/prior.py --stamps DIR

DIR has the sounds of the stamps in Tux Paint, which children draw with: /usr/share/tuxpaint/stamps of
Debian's tuxpaint-stamps-default. Each of the things below makes one, and is to be told from the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from mmencode_offline import anchors
from torch.nn.functional import normalize

import mmencode
from mmencode import Embeddings, LabelAnchored, Space

DEPTHS = (1, 3, 5)
# The file, and what it is called where its own name isn't it; things that make a sound of their own.
THINGS = {
    **{"Washing-machine": "washing machine", "cymbal_crash": "cymbal", "drum_tomtom_floor": "drum"},
    **{"drumkit": "drum kit", "camera_35mm": "camera shutter", "lightningbolt": "thunder"},
    **{"firetruck": "fire engine siren", "vacuum_cleaner": "vacuum cleaner"},
    **{
        name: name
        for name in (
            *("bassoon", "bee", "blackbird", "cello", "cow", "crow", "cuckoo", "dog", "donkey", "duck"),
            *("elephant", "fireworks", "fox", "frog", "goat", "grasshopper", "hammer", "hen", "horse"),
            *("kettle", "lark", "lion", "mosquito", "mouse", "owl", "pig", "rooster", "saw", "seagull"),
            *("sheep", "squirrel", "toilet", "turkey", "violin"),
        )
    },
}


def shares(space: Space, stamps: Path) -> dict[str, list[float]]:
    """How many things are told by the first of DEPTHS names, and the mean of 1 / place, by each prior."""
    files = {path.stem: path for path in stamps.rglob("*.ogg")}
    (part,) = space.features("audio", [files[name] for name in THINGS])
    texts = space.encode("text", [f"the sound of {name}" for name in THINGS.values()])
    data = anchors.read(anchors.AUDIO)
    found = {}
    for title, prior in (("no prior", None), ("the prior", data["prior"])):
        led = LabelAnchored(data["anchors"], activation="none", prior=prior)
        with torch.inference_mode():
            vectors = normalize(led(torch.from_numpy(part.rows)), dim=-1).numpy()
        sounds = Embeddings(vectors, space=space.id, modality="audio")
        scores = mmencode.similarity(sounds, texts)
        places = 1 + (scores > np.diag(scores)[:, None]).sum(axis=1)
        found[title] = [float(np.mean(places <= depth)) for depth in DEPTHS] + [float(np.mean(1 / places))]
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stamps", type=Path, required=True)
    with mmencode.load("default", dtype="float32") as space:
        found = shares(space, parser.parse_args().stamps)
    print(
        f"| {len(THINGS)} things | "
        + " | ".join(f"among the first {k}" for k in DEPTHS)
        + " | mean 1/place |"
    )
    print("|---" * (len(DEPTHS) + 2) + "|")
    for title, row in found.items():
        print(
            f"| {title} | " + " | ".join(f"{100 * share:.0f} %" for share in row[:-1]) + f" | {row[-1]:.2f} |"
        )


if __name__ == "__main__":
    main()
