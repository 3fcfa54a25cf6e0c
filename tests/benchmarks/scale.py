"""Units on the actors of a Ray cluster, against the loop in one process; and what grows with their number.

python tests/benchmarks/scale.py [--units 12] [--actors 1 2 4 8] [--captions 8000] [--shards 10000]

The device of the first table sleeps 50 ms for each item, so that actors take no cores from each other, and
each unit keeps it for a second. Time counts from the moment when all actors are at work.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
from common import captions, machine, table, timed

import mmencode
from mmencode import Space
from mmencode.encoder import Encoder, Tensors
from mmencode.engine.runtime import Runtime
from mmencode.plugins.spec import EncoderSpec
from mmencode.scale import Job, Output, Sizes, UnitReport, divide, embed

ITEMS, SECONDS = 20, 0.05
BOUND = 600  # seconds that actors may take to start
DIM = 8


class SleepingText(Encoder):
    """A text encoder that only takes time; `all N FOLDER` waits until so many processes are there."""

    width = DIM
    preprocessing = "none"
    tokenizer = "none"

    def preprocess(self, item: str) -> Tensors:
        """Wait for the others where the item says so."""
        word, _, rest = item.partition(" ")
        if word == "all":
            count, _, folder = rest.partition(" ")
            (Path(folder) / str(os.getpid())).touch()
            end = time.monotonic() + BOUND
            while len(os.listdir(folder)) < int(count) and time.monotonic() < end:
                time.sleep(0.01)
        return {"seconds": torch.tensor([0.0 if word in ("all", "probe") else SECONDS])}

    def forward(self, tensors: Tensors) -> torch.Tensor:
        """Sleep for all items of the batch."""
        time.sleep(float(tensors["seconds"].sum()))
        return torch.ones(len(tensors["seconds"]), DIM)


class Times:
    """The moments at which reports came."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def __call__(self, report: UnitReport) -> None:
        assert not report.error, report.error
        self.moments.append(time.perf_counter())

    def rate(self, first: int) -> float:
        """Units in a second behind the first so many."""
        return (len(self.moments) - first) / (self.moments[-1] - self.moments[first - 1])


def sleeping_space() -> Space:
    """A space whose text encoder sleeps."""
    target = "scale:SleepingText"
    spec = EncoderSpec(name="sleeping/text", modality="text", target=target, space="sleeping", dim=DIM)
    return Space("sleeping", [spec], runtime=Runtime("cpu", workers=1))


def write_tables(folder: Path, units: list[list[str]]) -> Path:
    """Write a table for each unit."""
    folder.mkdir()
    for number, texts in enumerate(units):
        rows = [json.dumps({"key": f"{number}-{place}", "text": text}) for place, text in enumerate(texts)]
        (folder / f"{number:06}.jsonl").write_text("\n".join(rows))
    return folder


def steady(folder: Path, count: int, units: int, **options: Any) -> float:
    """Units in a second, with so many actors at work."""
    folder.mkdir()
    (folder / "there").mkdir()
    waits = [[f"all {count} {folder / 'there'}"]] * count
    source = write_tables(folder / "source", [*waits, *([["word"] * ITEMS] * (units * count))])
    times = Times()
    with sleeping_space() as space:
        embed(str(source), str(folder / "out"), "text", space=space, advance=times, **options)
    return times.rate(count)


def print_steady(folder: Path, numbers: list[int], units: int) -> None:
    """Print what actors achieve on devices that sleep."""
    folder.mkdir()
    alone = steady(folder / "alone", 1, units)
    rows = [("engine", "units a second", "of the local loop for each")]
    rows.append(("the local loop", f"{alone:.3f}", "1.00"))
    for number in numbers:
        rate = steady(folder / f"{number}", number, units, ray="auto", actors=number)
        rows.append((f"{number} actors", f"{rate:.3f}", f"{rate / number / alone:.2f}"))
    table(f"Devices that sleep {ITEMS * SECONDS:g} s a unit, when steady", rows)


def print_real(folder: Path, count: int) -> None:
    """Print what the default space's text encoder achieves on the same cores."""
    cores = len(os.sched_getaffinity(0))
    texts = captions(count)
    size = max(1, count // 40)
    source = write_tables(folder, [texts[at : at + size] for at in range(0, count, size)])
    rates = {}
    sides: dict[str, dict[str, Any]] = {"one process": {}}
    sides |= {f"{number} actors": {"ray": "auto", "actors": number} for number in sorted({1, cores})}
    for name, options in sides.items():
        times = Times()
        with mmencode.load("default", device="cpu", modalities=["text"]) as space:
            out = str(folder.parent / f"real {name}")
            embed(str(source), out, "text", space=space, advance=times, **options)
        rates[name] = times.rate(len(times.moments) // 2)
    first = rates["one process"]
    rows = [("engine", "of one process"), *((name, f"{rate / first:.2f}") for name, rate in rates.items())]
    table(f"Captions in the default space on {cores} cores, the second half of them", rows)


class Memory:
    """The megabytes of the driver and of its actors, after a tenth of all units and after all."""

    def __init__(self, units: int) -> None:
        self.marks = {units // 10: "a tenth", units: "all"}
        self.seen = 0
        self.found: dict[str, tuple[float, float]] = {}

    def __call__(self, report: UnitReport) -> None:
        self.seen += 1
        if mark := self.marks.get(self.seen):
            self.found[mark] = (resident("self"), max(map(resident, actors_here()), default=0.0))


def resident(process: str) -> float:
    """The megabytes that a process has in memory."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def actors_here() -> list[str]:
    """The processes on this machine that are actors, by the name that Ray gives them."""
    return [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.read_bytes().startswith(b"ray::RemoteActor")
    ]


def print_memory(folder: Path, shards: int) -> None:
    """Print the memory of a run, and how long it takes to see that a run is finished."""
    source = write_tables(folder, [["probe"]] * shards)
    memory = Memory(shards)
    out = str(folder.parent / "memory")
    with sleeping_space() as space:
        embed(str(source), out, "text", space=space, advance=memory, ray="auto", actors=1)
        rows = [("after", "driver", "actor")]
        rows += [(mark, f"{mine:.0f} MB", f"{other:.0f} MB") for mark, (mine, other) in memory.found.items()]
        table(f"Memory during {shards} shards", rows)


def print_resume(folder: Path, shards: int) -> None:
    """Print how long it takes to see that nothing is left of so many shards."""
    source = write_tables(folder, [["probe"]] * shards)
    out = folder.parent / "finished"
    with sleeping_space() as space:
        units = divide(str(source), "text", Sizes())
        job = Job(space.id, "text")
        Output(str(out)).claim(job, space.card)
        (out / "vectors").mkdir()
        for unit in units:  # whose content nobody reads
            (out / "vectors" / f"{unit.name(job)}.parquet").touch()
        done = []
        seconds = timed(
            lambda: done.append(embed(str(source), str(out), "text", space=space, ray="auto").done)
        )
    assert done == [shards]
    table("A finished run again", [("shards", "seconds"), (f"{shards}", f"{seconds:.1f}")])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=12, help="for each actor")
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--captions", type=int, default=8000)
    parser.add_argument("--shards", type=int, default=10_000)
    asked = parser.parse_args()
    here = Path(__file__).resolve().parent
    os.environ["PYTHONPATH"] = os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])
    print(machine("torch", "ray"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with cluster(max(asked.actors)):
            print_steady(folder / "steady", asked.actors, asked.units)
        with cluster(len(os.sched_getaffinity(0))):
            print_real(folder / "real", asked.captions)
            print_memory(folder / "shards", max(100, asked.shards // 10))
            print_resume(folder / "more shards", asked.shards)


@contextmanager
def cluster(cpus: int) -> Iterator[None]:
    """Have a cluster that believes to have so many cores."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        yield
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
