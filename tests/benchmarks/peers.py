"""mmencode against open_clip, sentence-transformers and transformers: same weights, same items, in turn.

The weights are random, of CLIP ViT-B/32 and of wav2vec 2.0 base, and given to every side in its own format.

python tests/benchmarks/peers.py [--rounds 5] [--only text images ...]
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import weights
from common import captions, machine, photographs, ratios, recordings, table
from PIL import Image
from torch.nn.functional import normalize

import mmencode
from mmencode.engine.call import Prepared
from mmencode.engine.runtime import Runtime, move
from mmencode.engine.windows import cut_batches
from mmencode.inputs import Limits, reader
from mmencode.plugins.spec import EncoderSpec
from mmencode.spaces.space import Space

Side = Callable[[], object]
DTYPES = ("float32", "auto")
PACKAGES = ("torch", "open-clip-torch", "sentence-transformers", "transformers", "torchaudio", "mmencode")


class Clip:
    """One set of random weights, loaded by every side."""

    def __init__(self, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer
        from transformers import AutoImageProcessor, AutoTokenizer, pipeline
        from transformers import CLIPTextModelWithProjection as TextModel
        from transformers import CLIPVisionModelWithProjection as VisionModel

        self.model, path = weights.clip(folder)
        self.tokenizer = open_clip.get_tokenizer(weights.ARCHITECTURE)
        self.transform = open_clip.image_transform(224, is_train=False)
        theirs = weights.to_transformers(self.model, folder / "transformers")
        self.sentences = SentenceTransformer(str(theirs), device="cpu")
        tokenizer, processor = (
            AutoTokenizer.from_pretrained(theirs),
            AutoImageProcessor.from_pretrained(theirs),
        )
        self.pipelines = {
            "text": pipeline(
                "feature-extraction", model=TextModel.from_pretrained(theirs), tokenizer=tokenizer
            ),
            "image": pipeline(
                "image-feature-extraction",
                model=VisionModel.from_pretrained(theirs),
                image_processor=processor,
            ),
        }
        name = f"openclip/{weights.ARCHITECTURE}/{path}"
        self.spaces = {dtype: mmencode.load(name, device="cpu", dtype=dtype) for dtype in DTYPES}

    @torch.inference_mode()
    def text_loop(self, texts: Sequence[str]) -> np.ndarray:
        """open_clip's own way, in batches of 64."""
        parts = [texts[start : start + 64] for start in range(0, len(texts), 64)]
        features = [self.model.encode_text(self.tokenizer(part)) for part in parts]
        return normalize(torch.cat(features), dim=-1).numpy()

    @torch.inference_mode()
    def image_loop(self, paths: Sequence[Path]) -> np.ndarray:
        """open_clip's own way, in batches of 32."""
        features = []
        for start in range(0, len(paths), 32):
            images = [self.transform(image) for image in opened(paths[start : start + 32])]
            features.append(self.model.encode_image(torch.stack(images)))
        return normalize(torch.cat(features), dim=-1).numpy()

    def sentence_transformers(self, items: Sequence[Any]) -> np.ndarray:
        """In batches of 32, its default; 128 is slower."""
        return self.sentences.encode(list(items), batch_size=32, normalize_embeddings=True)

    def pipeline(self, modality: str, items: Sequence[Any]) -> np.ndarray:
        """transformers' pipeline for features, in batches of 32."""
        found = self.pipelines[modality](list(items), batch_size=32)
        rows = np.array([np.asarray(row, np.float32).reshape(-1) for row in found])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def sides(self, modality: str, items: Sequence[Any]) -> dict[str, Side]:
        """Every side on the same items, checked to give the same vectors."""
        read = opened if modality == "image" else list
        sides: dict[str, Side] = {
            "open_clip loop": partial(self.image_loop if modality == "image" else self.text_loop, items),
            "transformers pipeline": lambda: self.pipeline(modality, read(items)),
            "sentence-transformers": lambda: self.sentence_transformers(read(items)),
        }
        for dtype, space in self.spaces.items():
            sides[named(space, modality, dtype)] = partial(vectors, space, modality, items)
        check(sides)
        for dtype, space in self.spaces.items():
            sides |= floors(space, modality, items, named(space, modality, dtype))
        return sides


def opened(paths: Sequence[Path]) -> list[Image.Image]:
    """The images, decoded."""
    return [Image.open(path).convert("RGB") for path in paths]


def vectors(space: Space, modality: str, items: Sequence[Any]) -> np.ndarray:
    """What mmencode gives."""
    return space.encode(modality, items).vectors


def named(space: Space, modality: str, asked: str) -> str:
    """A side's name, with the dtype that "auto" became."""
    found = str(space.tower(modality).dtype).removeprefix("torch.")
    return f"mmencode, {found}" if asked != "auto" else f'mmencode, "auto" ({found})'


def floors(space: Space, modality: str, items: Sequence[Any], name: str) -> dict[str, Side]:
    """The two parts that mmencode can't do without, each alone: the forward passes, and the preparation."""
    tower, runtime = space.tower(modality), space.runtime
    read = reader(modality)

    def prepare(pair: tuple[int, Any]) -> Prepared:
        tensors = tower.encoder.preprocess(read(pair[1], Limits()))
        elements = sum(tensor.numel() for tensor in tensors.values())
        return Prepared(pair[0], "", tensors, tower.encoder.cost(tensors), elements=elements)

    def prepare_all() -> list[Prepared]:
        with ThreadPoolExecutor(runtime.workers) as pool:
            return list(pool.map(prepare, enumerate(items), chunksize=4))

    batches = [
        move(
            tower.encoder.collate([item.tensors for item in batch if item.tensors]), tower.device, tower.dtype
        )
        for batch in cut_batches(prepare_all(), tower.budget, runtime)
    ]

    @torch.inference_mode()
    def forward() -> None:
        for batch in batches:
            tower.forward(batch)

    return {f"{name}: forward passes alone": forward, f"{name}: preparation alone": prepare_all}


def check(sides: dict[str, Side]) -> None:
    """Stop unless all sides compute the same function; bfloat16 may be further off.

    On photographs whose longer side is an odd number of pixels too long after resizing, transformers may crop
    one pixel beside open_clip, which rounds half of it to even where transformers takes the floor: 64 and 63
    of 127 pixels. Cosines of 0.99 come from that, and no option changes it; those here have an even number.
    """
    found = {name: np.asarray(run()) for name, run in sides.items()}
    expected = next(iter(found.values()))
    for name, rows in found.items():
        least, asked = float((rows * expected).sum(axis=1).min()), 0.999 if "bfloat16" in name else 0.9999
        if least < asked:
            raise SystemExit(f"{name} differs from the first side: smallest cosine {least}")


def audio_sides(clips: Sequence[tuple[np.ndarray, int]]) -> dict[str, Side]:
    """transformers one by one, since padding changes what this model gives; and mmencode."""
    from mmencode import Waveform

    theirs = weights.transformers_audio()
    items = [Waveform(samples, rate) for samples, rate in clips]

    @torch.inference_mode()
    def one_by_one() -> np.ndarray:
        means = [
            theirs(torch.from_numpy(samples)[None]).last_hidden_state[0].mean(dim=0) for samples, _ in clips
        ]
        return normalize(torch.stack(means), dim=-1).numpy()

    sides: dict[str, Side] = {"transformers, one by one": one_by_one}
    spec = EncoderSpec(name="wav2vec2", modality="audio", target="weights:audio", dim=768, bf16_cosine=0.9999)
    spaces = {dtype: Space("wav2vec2", [spec], runtime=Runtime("cpu", dtype)) for dtype in DTYPES}
    for dtype, space in spaces.items():
        sides[named(space, "audio", dtype)] = partial(vectors, space, "audio", items)
    check(sides)
    for dtype, space in spaces.items():
        sides |= floors(space, "audio", items, named(space, "audio", dtype))
    return sides


def report(title: str, sides: dict[str, Side], rounds: int) -> None:
    """How many times as fast as each peer mmencode is, and how much of the floor it reaches."""
    found = ratios(sides, rounds)
    peers = [name for name in found if not name.startswith("mmencode")]
    ours = [name for name in found if name.startswith("mmencode") and "alone" not in name]
    rows = [("side", *(f"÷ {peer}" for peer in peers), "of the floor")]
    for name in [*peers, *ours]:
        row = [name, *(f"{found[name] / found[peer]:.2f}" for peer in peers)]
        parts = [found[part] for part in found if part.startswith(f"{name}: ")]
        floor = 1 / sum(1 / part for part in parts) if parts else 0.0
        rows.append((*row, f"{100 * found[name] / floor:.0f} %" if parts else ""))
    table(title, rows)


def long_texts(count: int) -> list[str]:
    """Texts of 60 words: the model takes 77 tokens, and the pipeline fails on more."""
    return [" ".join(" ".join(captions(8, seed)).split()[:60]) for seed in range(count)]


def main() -> None:
    """Print a table for each kind of item."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=["captions", "long", "images", "large", "audio"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine(*PACKAGES))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = Clip(folder) if set(options.only) - {"audio"} else None
        cases: dict[str, tuple[str, Callable[[], dict[str, Side]]]] = {
            "captions": (
                "Text: 192 captions of 4 to 30 words",
                lambda: clip.sides("text", captions(192)),
            ),
            "long": ("Text: 64 long texts", lambda: clip.sides("text", long_texts(64))),
            "images": (
                "Images: 64 JPEG files of 500 x 375",
                lambda: clip.sides("image", photographs(folder / "small", 64)),
            ),
            "large": (
                "Images: 12 JPEG files of 4000 x 3000",
                lambda: clip.sides("image", photographs(folder / "large", 12, (4000, 3000))),
            ),
            "audio": ("Audio: 12 clips of 1 to 30 s", lambda: audio_sides(recordings(12))),
        }
        for case in options.only:
            title, sides = cases[case]
            report(title, sides(), options.rounds)


if __name__ == "__main__":
    main()
