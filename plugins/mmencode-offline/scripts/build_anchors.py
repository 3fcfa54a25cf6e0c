"""Rebuild the anchors that mmencode_offline ships, from its pinned packages and WordNet 3.0.

    python scripts/build_anchors.py            writes mmencode_offline/data/
    python scripts/build_anchors.py --check    compares with it, and exits with 1 if anything differs

It needs mmencode-offline[audio], WordNet's `data.noun` (Debian: apt install wordnet-base), and what
neutral_clips.py says, for the prior of the sounds.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import torch
from mmencode_offline import anchors, audio, sources, text
from neutral_clips import SOUNDFONT, clips
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
from safetensors.torch import load_file, save
from timm.data import ImageNetInfo
from torch import Tensor
from torch.nn.functional import normalize
from wordnet import WordNet

from mmencode import Waveform

DATA = Path(anchors.__file__).parent / "data"
KINDS, KIND_WEIGHT, GLOSS_WEIGHT = 3, 0.6, 0.6
BATCH = 32
ROUNDING = 2e-3  # half precision has steps of up to 5e-4 below 1; threads and processors add less


class Meaning:
    """Unit vectors of texts, those of the space itself."""

    def __init__(self) -> None:
        self._minilm = text.encoder()

    @torch.inference_mode()
    def __call__(self, texts: list[str]) -> Tensor:
        """`[texts, 384]`."""
        items = [self._minilm.preprocess(entry) for entry in texts]
        batches = [items[at : at + BATCH] for at in range(0, len(items), BATCH)]
        return normalize(torch.cat([self._minilm(self._minilm.collate(batch)) for batch in batches]))


def image_anchors(meaning: Meaning, wordnet: WordNet) -> dict[str, Tensor]:
    """The thousand labels of ImageNet: the name, what it is a kind of, and WordNet's definition.

    A few labels, "lighter" say, are of no useful kind; that part is zero for them.
    """
    offsets = [int(name[1:]) for name in ImageNetInfo().label_names()]
    kinds = [wordnet.kinds(offset, KINDS) for offset in offsets]
    vectors = meaning([kind for names in kinds for kind in names])
    kind = torch.stack([part.sum(dim=0) for part in vectors.split([len(names) for names in kinds])])
    gloss = meaning([wordnet.synset(offset).gloss for offset in offsets])
    name = meaning(IMAGENET_CLASSNAMES)
    return {"anchors": normalize(name + KIND_WEIGHT * normalize(kind) + GLOSS_WEIGHT * gloss).half()}


def audio_anchors(meaning: Meaning, soundfont: Path) -> dict[str, Tensor]:
    """The tags of AudioSet, as names and as sounds, and how strongly each answers to neutral clips."""
    rows = csv.DictReader(sources.read(sources.CLASS_MAP).decode().splitlines())
    names = [row["display_name"] for row in rows]
    sounds = meaning([f"the sound of {name.lower()}" for name in names])
    return {"anchors": normalize(meaning(names) + sounds).half(), "prior": prior(soundfont)}


@torch.inference_mode()
def prior(soundfont: Path) -> Tensor:
    """The mean strength of each tag over the neutral clips, `[521]`."""
    yamnet = audio.encoder()
    items = (yamnet.preprocess(Waveform(clip.samples, clip.rate)) for clip in clips(soundfont))
    return torch.cat([yamnet(yamnet.collate([item])) for item in items]).mean(dim=0)


def difference(built: Tensor, shipped: Tensor | None) -> float:
    """The largest difference between two tensors, infinite where there is no other of that shape."""
    if shipped is None or built.shape != shipped.shape:
        return float("inf")
    return float((built.float() - shipped.float()).abs().max())


def main() -> int:
    """The command line; the exit status is 1 when --check finds a difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="has data.noun")
    parser.add_argument("--soundfont", type=Path, default=SOUNDFONT, help="of General MIDI, as .sf2")
    parser.add_argument("--check", action="store_true", help="compare with what is shipped, write nothing")
    options = parser.parse_args()
    meaning = Meaning()
    built = {
        anchors.IMAGE: image_anchors(meaning, WordNet(options.wordnet)),
        anchors.AUDIO: audio_anchors(meaning, options.soundfont),
    }
    different = False
    for file, tensors in built.items():
        shipped = load_file(DATA / file)
        gaps = {name: difference(tensor, shipped.get(name)) for name, tensor in tensors.items()}
        different |= gaps.keys() != shipped.keys() or max(gaps.values()) > ROUNDING
        for name, gap in gaps.items():
            print(f"{file}, {name}: largest difference {gap:.2g}, {ROUNDING:g} is allowed")
        if not options.check:
            # What differs by rounding stays: else every machine that builds would make another space.
            kept = {name: shipped[name] if gaps[name] <= ROUNDING else tensors[name] for name in tensors}
            (DATA / file).write_bytes(save(kept))
    return int(different and options.check)


if __name__ == "__main__":
    sys.exit(main())
