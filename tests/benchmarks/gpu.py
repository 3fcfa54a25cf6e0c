"""What a GPU makes of mmencode: one command, one machine, every figure that the design rests on.

python tests/benchmarks/gpu.py RESULTS [--device cuda] [--small] [--rounds 3] [--only forward sweep ...]

RESULTS is a folder: results.json is written anew after each part. A row that can't be measured says why, and
the others go on. The weights are random, of CLIP ViT-B/32 and ViT-L/14 and of wav2vec 2.0 base, and given to
every side in its own format. All sides of a table run in turn, and the median of the rounds' ratios is shown;
beside it the smallest cosine of a side's vectors to those of the first side that gives any.
With --small everything is tiny, so that the script itself can be tried on a CPU. The last part runs the tests
that need a GPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gpu_sides as sides
import numpy as np
import torch
from common import machine, ratios, table
from gpu_bench import Bench, Side, describe, unit_rows

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "torchvision", "open-clip-torch", "sentence-transformers", "transformers", "mmencode")
Row = tuple[str, ...]
Part = Callable[[Bench], Iterator[tuple[str, list[Row]]]]
WORTH = 0.97  # a smaller batch is preferred that reaches so much of the fastest


def compare(bench: Bench, made: dict[str, Callable[[], Side]], head: tuple[str, str]) -> list[Row]:
    """Rows of how fast each side is by the first, and how like its vectors; one that fails says why."""
    ready: dict[str, Callable[[], object]] = {}
    reasons: dict[str, str] = {}
    vectors: dict[str, np.ndarray] = {}
    for name, make in made.items():
        try:
            side = bench.synchronised(make())
            rows = unit_rows(side())  # warms up, too
            if rows is not None:
                vectors[name] = rows
            ready[name] = side
        except Exception as cause:
            reasons[name] = reason(cause)
        bench.free()
    found = ratios(ready, bench.rounds) if ready else {}
    first = next(iter(vectors.values()), np.empty((0, 0)))
    alike = {
        name: f"{(rows * first).sum(axis=1).min():.5f}"
        for name, rows in vectors.items()
        if rows.shape == first.shape
    }
    told = {name: f"{found[name]:.3f}" if name in found else reasons[name] for name in made}
    return [(*head, "smallest cosine"), *((name, told[name], alike.get(name, "")) for name in made)]


def reason(cause: BaseException) -> str:
    """Why a row has no figure, in a few words that fit into a table."""
    said = " ".join(str(cause).split()).replace("|", "/")
    return f"not measured: {type(cause).__name__}: {said:.160}"


def forward(bench: Bench) -> Iterator[tuple[str, list[Row]]]:
    """`encode` on prepared tensors against the encoder's and the model's own pass, in the same batches."""
    for clip in bench.clips:
        for dtype in bench.dtypes:
            for modality in ("text", "image"):
                made = sides.forwards(bench, clip, modality, dtype)
                title = f"Forward: {clip.name}, {modality}, {dtype}"
                yield title, compare(bench, made, ("side", "÷ the model's own pass"))


def jpeg(bench: Bench) -> Iterator[tuple[str, list[Row]]]:
    """From JPEG files to vectors, against what decoding alone allows, and decoding on the device."""
    for clip in bench.clips:
        made = sides.from_files(bench, clip)
        yield f"From JPEG: {clip.name}", compare(bench, made, ("side", "÷ reading and preprocessing alone"))


def text(bench: Bench) -> Iterator[tuple[str, list[Row]]]:
    """Captions against sentence-transformers' and open_clip's own way."""
    for clip in bench.clips:
        made = sides.of_texts(bench, clip)
        yield f"Captions: {clip.name}", compare(bench, made, ("side", "÷ sentence-transformers"))


def audio(bench: Bench) -> Iterator[tuple[str, list[Row]]]:
    """Recordings against transformers, one by one, since padding changes what the model gives."""
    yield "Audio: wav2vec 2.0", compare(bench, sides.of_sounds(bench), ("side", "÷ transformers, one by one"))


def dtypes(bench: Bench) -> Iterator[tuple[str, list[Row]]]:
    """Each dtype's speed on prepared tensors, and its smallest cosine to float32."""
    for clip in bench.clips:
        for modality in ("text", "image"):
            made = sides.of_dtypes(bench, clip, modality)
            yield f"Types: {clip.name}, {modality}", compare(bench, made, ("dtype", "÷ float32"))


def sweep(bench: Bench) -> Iterator[tuple[str, list[Row]]]:
    """Batch sizes: for `_GPU_BATCH` and `_GPU_ELEMENTS` in mmencode/engine/runtime.py."""
    for name, modality, space in sides.of_sweep(bench):
        rows: list[Row] = [("batch", "numbers in it", "items a second ÷ the fastest", "MiB at the peak")]
        speeds: dict[int, float] = {}
        found: dict[int, tuple[str, str]] = {}
        for size in bench.batches:
            try:
                speeds[size], elements, peak = sides.speed_of_batch(bench, space, modality, size)
                found[size] = (f"{elements}", f"{peak:.0f}" if peak else "")
            except Exception as cause:
                found[size] = ("", reason(cause))
            bench.free()
        best = max(speeds.values(), default=1.0)
        for size, (elements, peak) in found.items():
            rows.append((f"{size}", elements, f"{speeds[size] / best:.3f}" if size in speeds else "", peak))
        enough = next((size for size in bench.batches if speeds.get(size, 0) >= WORTH * best), None)
        yield f"Batches: {name}, {modality}; {enough} is enough for {WORTH:.0%} of the fastest", rows


def graphs(bench: Bench) -> Iterator[tuple[str, list[Row]]]:
    """torch.compile and CUDA graphs against passes as they are, on one batch."""
    for clip in bench.clips:
        for modality in ("text", "image"):
            made = sides.of_graphs(bench, clip, modality)
            yield f"Graphs: {clip.name}, {modality}", compare(bench, made, ("pass", "÷ as it is"))


def products(bench: Bench) -> Iterator[tuple[str, list[Row]]]:
    """A product of a tower's size in each type that the device may multiply faster."""
    for width in bench.widths:
        made = sides.of_products(bench, width)
        yield f"Products: {width} to {4 * width}", compare(bench, made, ("product", "÷ bfloat16"))


def copies(bench: Bench) -> Iterator[tuple[str, list[Row]]]:
    """Ways of a batch of pixels to the device."""
    yield "Copies: one batch of pixels", compare(bench, sides.of_copies(bench), ("way", "÷ stack, pin, copy"))


def tests(bench: Bench) -> Iterator[tuple[str, list[Row]]]:
    """The suite's tests that need a GPU, in one call of pytest."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    (bench.results / "tests.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    yield "Tests marked gpu", [("pytest -m gpu", "exit"), (lines[-1] if lines else "", str(done.returncode))]


PARTS: tuple[Part, ...] = (
    *(forward, jpeg, text, audio, dtypes, sweep, graphs, products, copies),
    tests,
)


def main() -> None:
    """Measure every part, print its tables, and write them down as JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny models and few items")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=[part.__name__ for part in PARTS])
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    asked.results.mkdir(parents=True, exist_ok=True)
    device = torch.device(asked.device)
    told = f"{describe(device)}; {machine(*PACKAGES)}"
    print(told)
    found: dict[str, Any] = {"machine": told, "small": asked.small, "tables": {}, "failed": {}}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(device, Path(folder), asked.results, asked.rounds, small=asked.small)
        for part in PARTS:
            if asked.only is not None and part.__name__ not in asked.only:
                continue
            try:
                for title, rows in part(bench):
                    table(title, rows)
                    found["tables"][title] = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
            except Exception as cause:  # the parts behind it go on
                found["failed"][part.__name__] = reason(cause)
                print(f"\n{part.__name__}: {reason(cause)}")
            bench.free()
            write = partial(json.dumps, indent=1, ensure_ascii=False)
            (asked.results / "results.json").write_text(write(found), encoding="utf-8")


if __name__ == "__main__":
    main()
