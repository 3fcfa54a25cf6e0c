"""Backends on the whole path, on one thread, in seconds of the process: torch, onnxruntime, OpenVINO, int8.

All have the default space's weights and the same items, and run in turn. Backends that aren't installed are
left out.

python tests/benchmarks/backends.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from common import captions, machine, photographs, ratios, table

import mmencode


def main() -> None:
    """Print, for each modality, how many times as fast as torch each backend is, and how near its vectors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # that of int8, whose cosines are in the table
    installed = [name for name in ("onnxruntime", "openvino") if find_spec(name)]
    spaces = {
        name: mmencode.load("default", device="cpu", dtype="float32", backend=name, workers=1)
        for name in ("torch", *installed)
    }
    if "onnxruntime" in installed:
        spaces["int8"] = mmencode.load("default", dtype="int8", workers=1)
    print(machine("torch", *installed, "mmencode", "mmencode-offline"))
    with tempfile.TemporaryDirectory() as folder:
        items = {"text": captions(256), "image": photographs(Path(folder), 24)}
        for modality, batch in items.items():
            sides = {
                name: partial(space.encode, modality, batch)
                for name, space in spaces.items()
                if (modality, name) != ("image", "int8")  # its network is no transformer
            }
            expected = sides["torch"]().vectors
            vectors = {name: run().vectors for name, run in sides.items()}
            found = ratios(sides, rounds, time.process_time)
            rows = [("side", "times as fast as torch, in CPU seconds", "least cosine", "same five nearest")]
            for name, rows_of_it in vectors.items():
                cosine = float(np.min(np.sum(rows_of_it * expected, 1)))
                same = f"{same_nearest(rows_of_it, expected):.3f}"
                rows.append((name, f"{found[name]:.2f}", f"{cosine:.4f}", same))
            table(f"{modality.capitalize()}: {len(batch)} items of the default space, one thread", rows)


def same_nearest(vectors: np.ndarray, expected: np.ndarray, count: int = 5) -> float:
    """The share of each item's nearest others that are the same by both."""
    nearest = []
    for each in (vectors, expected):
        cosines = each @ each.T
        np.fill_diagonal(cosines, -2)
        nearest.append(np.argsort(-cosines, axis=1)[:, :count])
    return float(np.mean([len(set(a) & set(b)) / count for a, b in zip(*nearest, strict=True)]))


if __name__ == "__main__":
    main()
