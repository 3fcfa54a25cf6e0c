"""One item at a time: what mmencode adds to the bare forward pass.

python tests/benchmarks/latency.py [--rounds 200]
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import torch
from common import machine, photographs_in_memory, recordings, table, timed

import mmencode
from mmencode import Waveform
from mmencode.engine.runtime import move


def added(space: mmencode.Space, modality: str, item: Any, rounds: int) -> tuple[float, float, float]:
    """Milliseconds of the bare forward pass and projection, of preprocessing, and what `encode` adds to both.

    The item is a safe value already. The median of the rounds' differences: all run in every round.
    """
    tower = space.tower(modality)
    tensors = move(tower.encoder.collate([tower.encoder.preprocess(item)]), tower.device, tower.dtype)

    def bare() -> None:
        with torch.inference_mode():
            tower.projection(tower.forward(tensors).float()).cpu()

    def prepare() -> None:
        tower.encoder.preprocess(item)

    def whole() -> None:
        space.encode(modality, [item])

    for run in (bare, whole) * 10:
        run()
    rows = [(timed(bare), timed(prepare), timed(whole)) for _ in range(rounds)]
    forward = statistics.median(row[0] for row in rows)
    before = statistics.median(row[1] for row in rows)
    above = statistics.median(row[2] - row[1] - row[0] for row in rows)
    return 1000 * forward, 1000 * before, 1000 * above


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    print(machine("torch", "mmencode", "mmencode-offline"))
    samples, rate = recordings(1)[0]
    items = {
        "text": "a dog runs over the bridge",
        "image": photographs_in_memory()[0],
        "audio": Waveform(samples, rate),
    }
    rows = [("item", "forward pass, ms", "preprocessing, ms", "encode adds, ms")]
    with mmencode.load(device="cpu") as space:
        for modality, item in items.items():
            forward, before, above = added(space, modality, item, rounds)
            rows.append((modality, f"{forward:.2f}", f"{before:.2f}", f"{above:.2f}"))
    table("One item", rows)


if __name__ == "__main__":
    main()
