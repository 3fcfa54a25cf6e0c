"""Videos: decoding must overlap with the forward passes, and memory must not depend on their number.

python tests/benchmarks/video.py [COUNT]

One thread decodes and one computes. "an accelerator" waits where the model would compute elsewhere, as long
for each video as decoding it takes; "the processor" is a small vision transformer. COUNT videos are generated
one by one for the memory, 1000 by default.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import timm
import torch
from common import machine, ratios, table
from mmencode_video.pooled import Mean
from mmencode_video.probes import encode_frames
from safetensors.torch import save_file

import mmencode
from mmencode.inputs import Limits, reader

_FILMS, _ROUNDS = 96, 5
_SIZE, _LENGTH = (240, 320), 48


def film(seed: int, length: int = _LENGTH, size: tuple[int, int] = _SIZE) -> bytes:
    """An mp4 of noise that moves, whose decoding costs what a film's of this size does."""
    height, width = size
    ground = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    still = ground.repeat(8, axis=0).repeat(8, axis=1)
    return encode_frames(np.stack([np.roll(still, 3 * step, axis=1) for step in range(length)]))


def overlap(space: mmencode.Space, films: list[bytes]) -> dict[str, float]:
    """How many times as fast as encoding decoding alone is, and the forward passes alone."""
    tower = space.tower("video")
    encoder, read, limits = tower.encoder, reader("video"), Limits()
    prepared = [encoder.preprocess(read(item, limits)) for item in films]
    batches = [encoder.collate(prepared[start : start + 4]) for start in range(0, len(prepared), 4)]

    def decode() -> None:
        for item in films:
            encoder.preprocess(read(item, limits))

    @torch.inference_mode()
    def compute() -> None:
        for batch in batches:
            tower.forward(batch)

    return ratios(
        {"encoding": lambda: space.encode("video", films), "decoding": decode, "forward": compute}, _ROUNDS
    )


def rows_of_overlap(name: str) -> list[tuple[str, ...]]:
    """Measure both kinds of forward passes."""
    rows: list[tuple[str, ...]] = [("forward passes on", "slower of the two, by encoding")]
    films = [film(seed) for seed in range(_FILMS)]
    real = Mean.forward
    with mmencode.load(name, device="cpu", dtype="float32", batch_size=4, workers=1) as space:
        encoder = space.tower("video").encoder
        start = time.perf_counter()
        for item in films:
            encoder.preprocess(reader("video")(item, Limits()))
        each = (time.perf_counter() - start) / _FILMS

        def wait(self: Mean, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
            time.sleep(each * len(tensors["count"]))
            return torch.ones(len(tensors["count"]), self.width)

        for where, forward in (("an accelerator", wait), ("the processor", real)):
            Mean.forward = forward  # type: ignore[method-assign]
            found = overlap(space, films)
            slower = 1 / min(found["decoding"], found["forward"])  # these are how many times as fast
            rows.append((where, f"{slower:.2f}"))
    Mean.forward = real  # type: ignore[method-assign]
    return rows


def rows_of_memory(name: str, count: int) -> list[tuple[str, ...]]:
    """Measure the growth of memory while generated videos are encoded as a stream."""
    marks = (count // 10, count // 2, count)
    peaks: dict[int, float] = {}

    def items() -> Iterator[bytes]:
        for number in range(count):
            yield film(number, length=12, size=(120, 160))

    done = 0
    with mmencode.load(name, device="cpu", dtype="float32", workers=2) as space:
        for part in space.stream("video", items(), chunk=max(1, count // 10)):
            assert not part.errors
            done += len(part)
            peaks[done] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    first = peaks[marks[0]]
    rows: list[tuple[str, ...]] = [("videos", "peak, MiB", "ratio to the fewer")]
    return rows + [(f"{at}", f"{peaks[at]:.0f}", f"{peaks[at] / first:.3f}") for at in marks]


def main() -> None:
    """Print two tables."""
    torch.set_num_threads(1)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(machine("torch", "av", "mmencode", "mmencode-video"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tower.safetensors"
        torch.manual_seed(0)
        save_file(timm.create_model("test_vit").state_dict(), path)
        name = f"video/mean/timm/test_vit/{path}"
        table("Decoding beside forward passes", rows_of_overlap(name))
        table("Peak memory over generated videos", rows_of_memory(name, count))


if __name__ == "__main__":
    main()
