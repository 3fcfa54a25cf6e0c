"""mmencode against sentence-transformers on one omni checkpoint: CPU time of one thread, the same weights.

The weights are random, of a small Qwen3-VL with the real processor, chat template and pooling. The sides run
in turn, and the figure is the median over rounds of their time divided by ours: above 1, mmencode is faster.
The last row is the time to load the checkpoint, and what it is where the weights are hashed for each encoder.

python tests/benchmarks/omni.py [--rounds 5] [--count 256]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import captions, machine, photographs, table
from PIL import Image

import mmencode
from mmencode.encoder import digest
from mmencode.engine import building

sys.path.insert(0, str(Path(__file__).parents[2] / "plugins" / "mmencode-transformers" / "tests"))
import tiny_omni

PACKAGES = ("torch", "transformers", "sentence-transformers", "mmencode")
LAYERS = {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 6}


def seconds(side: Callable[[], Any]) -> float:
    """CPU seconds that a side takes, of all threads."""
    start = time.process_time()
    side()
    return time.process_time() - start


def open_whole(name: str) -> None:
    """Load a space with all its encoders."""
    with mmencode.load(name, device="cpu", dtype="float32") as space:
        space.tower("text")


def main() -> None:
    """Print the ratios of both sides, for texts and for images in files."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--count", type=int, default=256)
    given = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny_omni.qwen3(folder / "plain", **LAYERS)
        model = tiny_omni.sentences("qwen3", folder / "plain", folder / "saved")
        paths = photographs(folder / "photographs", given.count // 8)
        texts = captions(given.count)
        rows = [("items", "mmencode, CPU time", "sentence-transformers / mmencode")]
        with mmencode.load(
            f"transformers/omni/{folder}/saved", device="cpu", dtype="float32", workers=1
        ) as space:
            for modality, items in (("text", texts), ("image", paths)):

                def theirs(modality: str = modality, items: Any = items) -> np.ndarray:
                    opened = (
                        [Image.open(path).convert("RGB") for path in items] if modality == "image" else items
                    )
                    return model.encode_document(opened, batch_size=32)  # type: ignore[no-any-return]

                def ours(modality: str = modality, items: Any = items) -> np.ndarray:
                    return space.encode(modality, items).vectors

                np.testing.assert_allclose(ours(), theirs(), atol=1e-4)
                found = [(seconds(theirs), seconds(ours)) for _ in range(given.rounds)]
                ratio = statistics.median(their / our for their, our in found)
                spent = statistics.median(our for _, our in found)
                rows.append((f"{len(items)} {modality}s", f"{spent:.2f} s", f"{ratio:.2f}"))
        name = f"transformers/omni/{folder}/saved"
        kept = building.Digester
        found = []
        for _ in range(given.rounds):
            building.Digester = lambda: digest  # type: ignore[misc,assignment]  # once for each way into it
            apart = seconds(lambda: open_whole(name))
            building.Digester = kept  # type: ignore[misc]
            found.append((apart, seconds(lambda: open_whole(name))))
        ratio = statistics.median(apart / once for apart, once in found)
        spent = statistics.median(once for _, once in found)
        rows.append(("loading it", f"{spent:.2f} s", f"{ratio:.2f} (hashed once for each way into it)"))
    print(machine(*PACKAGES))
    table("One omni checkpoint, one thread", rows)


if __name__ == "__main__":
    main()
