"""What the benchmark scripts share: the machine, items, and ratios of sides run in turn."""

from __future__ import annotations

import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

WORDS = (
    *("red", "blue", "small", "large", "old", "wooden", "bright", "quiet", "dog", "cat", "car", "house"),
    *("street", "river", "mountain", "boat", "child", "garden", "bird", "kitchen", "table", "lamp"),
    *("bridge", "harbour", "forest", "cloud", "train", "bicycle", "runs", "stands", "near", "under"),
    *("over", "behind", "with", "and", "the", "a"),
)


def machine(*packages: str) -> str:
    """The machine and the versions that a figure belongs to, on one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2]
            for line in cpuinfo.read_text().splitlines()
            if line.startswith("model name")
        ]
        model = names[0].strip() if names else model
    cores = len(os.sched_getaffinity(0))
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    day = time.strftime("%Y-%m-%d")
    return f"{cores} cores of {model}; Python {platform.python_version()}, {versions}; {day}"


def captions(count: int, seed: int = 0) -> list[str]:
    """Captions of 4 to 30 words."""
    random_words = random.Random(seed)
    return [" ".join(random_words.choices(WORDS, k=random_words.randint(4, 30))) for _ in range(count)]


def photographs(folder: Path, count: int, size: tuple[int, int] = (500, 375)) -> list[Path]:
    """JPEG files of `size` pixels, crops of photographs that scikit-image ships."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = photographs_in_memory()
    random_place = random.Random(0)
    paths = []
    for number in range(count):
        source = sources[number % len(sources)]
        left, top = (random_place.randint(0, side // 4) for side in source.size)
        crop = source.crop((left, top, left + source.width * 3 // 4, top + source.height * 3 // 4))
        paths.append(folder / f"{number:05d}.jpg")
        crop.resize(size).save(paths[-1], quality=90)
    return paths


def photographs_in_memory() -> list[Image.Image]:
    """Four photographs that scikit-image ships."""
    from skimage import data

    return [Image.fromarray(photo()) for photo in (data.astronaut, data.chelsea, data.coffee, data.rocket)]


def recordings(count: int) -> list[tuple[np.ndarray, int]]:
    """Noise that swells and fades, 1 to 30 seconds at 16 kHz."""
    draw, clips = np.random.default_rng(0), []
    for seconds in np.linspace(1, 30, count):
        samples = draw.normal(0, 0.1, int(seconds * 16000))
        swell = np.sin(np.linspace(0, seconds * 3, len(samples)))
        clips.append(((samples * swell).astype(np.float32), 16000))
    return clips


def ratios(
    sides: dict[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    *,
    warm: bool = True,
) -> dict[str, float]:
    """How many times as fast as the first each side is: the median over rounds, all sides in every round.

    The machine's speed drifts, so only times of one round are compared with each other. A `clock` of the
    process's own time counts the seconds that others take from it for nothing; it suits a single thread.
    Sides that take long need no call ahead: then they aren't made `warm`.
    """
    for run in sides.values() if warm else ():
        run()
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        seconds = {name: timed(run, clock) for name, run in sides.items()}
        first = next(iter(seconds.values()))
        for name, taken in seconds.items():
            found[name].append(first / taken)
    return {name: statistics.median(values) for name, values in found.items()}


def timed(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """The seconds that one call takes."""
    start = clock()
    run()
    return clock() - start


def child(code: str) -> list[str]:
    """What a fresh interpreter prints, in words."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout.split()


def table(title: str, rows: list[tuple[str, ...]]) -> None:
    """Print a Markdown table whose first row is the header."""
    print(f"\n**{title}**\n")
    for number, row in enumerate(rows):
        print(f"| {' | '.join(row)} |")
        if number == 0:
            print(f"|{'---|' * len(row)}")
