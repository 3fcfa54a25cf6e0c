"""How near the forward passes of CLIP ViT-B/32 come to what the processor multiplies at all.

The operations of a pass are those of its matrix products; the processor's rate is that of
a product of packed 1536 x 1536 matrices, or of unpacked ones where that is higher.

python tests/benchmarks/limits.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import weights
from common import captions, machine, photographs, table, timed
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import mmencode
from mmencode.engine.packing import pack
from mmencode.engine.runtime import move
from mmencode.inputs import Limits, reader

SIZE = 1536
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def products(dtype: torch.dtype) -> list[Callable[[], object]]:
    """Products of 2 * SIZE ** 3 operations."""
    inputs, layer = torch.randn(SIZE, SIZE, dtype=dtype), nn.Linear(SIZE, SIZE, bias=False).to(dtype)
    packed = nn.Sequential(nn.Linear(SIZE, SIZE, bias=False).to(dtype))
    pack(packed)
    return [lambda: layer(inputs), lambda: packed(inputs)]


def passes(space: mmencode.Space, modality: str, items: list[object]) -> tuple[Callable[[], object], int]:
    """One forward pass of an automatic batch, and how many operations it takes, attention included."""
    tower, read = space.tower(modality), reader(modality)
    prepared = [tower.encoder.preprocess(read(item, Limits())) for item in items]
    count = tower.budget.items(max(sum(t.numel() for t in item.values()) for item in prepared), space.runtime)
    batch = move(tower.encoder.collate(prepared[:count]), tower.device, tower.dtype)
    plain = mmencode.engine.building.build_tower(tower.spec)[0].to(
        tower.dtype
    )  # the counter doesn't know packed layers
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        plain(batch)
    return lambda: tower.forward(batch), counter.get_total_flops()


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore")
    print(machine("torch", "open-clip-torch", "mmencode"))
    rows = [("dtype", "product, times float32", "text pass, of the product", "image pass, of the product")]
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        _, path = weights.clip(Path(name))
        items = {"text": captions(32), "image": photographs(Path(name) / "photographs", 6)}
        sides: dict[str, tuple[list[Callable[[], object]], int]] = {}
        for dtype, kind in DTYPES.items():
            space = mmencode.load(f"openclip/{weights.ARCHITECTURE}/{path}", device="cpu", dtype=dtype)
            sides[f"product {dtype}"] = products(kind), 2 * SIZE**3
            for modality, some in items.items():
                run, operations = passes(space, modality, some)
                sides[f"{modality} {dtype}"] = [run], operations
        rates = measured(sides, rounds)
    for dtype in DTYPES:
        product = rates[f"product {dtype}"]
        shares = [rates[f"{modality} {dtype}"] / product for modality in items]
        rows.append(
            (dtype, f"{product / rates['product float32']:.2f}", *(f"{100 * s:.0f} %" for s in shares))
        )
    table("What the forward passes reach of the processor", rows)


def measured(sides: dict[str, tuple[list[Callable[[], object]], int]], rounds: int) -> dict[str, float]:
    """Operations per second, the median over rounds in which all run in turn, of the quickest way of each."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, (ways, operations) in sides.items():
            seconds = min(timed(way) for way in ways)
            if number:  # the first round warms up
                found[name].append(operations / seconds)
    return {name: statistics.median(values) for name, values in found.items()}


if __name__ == "__main__":
    main()
