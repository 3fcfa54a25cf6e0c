"""How OpenMP's threads wait: what the policies cost on a quiet machine, and beside busy processes.

python tests/benchmarks/busy.py [--rounds 7] [--busy 0,1,2] [--set GOMP_SPINCOUNT=4000]

Each policy has a process of its own with the default space, in its default runtime; all of them do the same
work in turn, beside each number of busy processes. Above 1 in the first column of figures, a policy is faster
than torch's default.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from common import machine, photographs, table

from mmencode.engine.waiting import SPIN_COUNT, SPINS

POLICIES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY", "OMP_NUM_THREADS")
CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {folder!r})
import mmencode
from common import captions
space = mmencode.load("default", device="cpu")
photos, texts = sorted(Path({photos!r}).iterdir()), captions(128)
work = {{
    "photographs": lambda: space.encode("image", photos),
    "texts": lambda: space.encode("text", texts),
    "texts one by one": lambda: [space.encode("text", [text]) for text in texts[:32]],
}}
for run in work.values():
    run()
print("ready", flush=True)
for line in sys.stdin:
    cpu, wall = time.process_time(), time.perf_counter()
    work[line.strip()]()
    print(time.perf_counter() - wall, time.process_time() - cpu, flush=True)
"""


@contextmanager
def encoding(photos: Path, setting: str) -> Iterator[subprocess.Popen[str]]:
    """A process with the default space that waits for the name of work; `setting` is NAME=VALUE or none."""
    environment = {name: value for name, value in os.environ.items() if name not in POLICIES}
    name, _, value = setting.partition("=")
    code = CHILD.format(folder=str(Path(__file__).parent), photos=str(photos))
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment | ({name: value} if name else {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        if child.stdout.readline().strip() != "ready":
            raise SystemExit("a process that encodes ended before it began")
        yield child
    finally:
        child.kill()
        child.wait()


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that use a core each."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(child: subprocess.Popen[str], work: str) -> tuple[float, float]:
    """The seconds of the clock and of the processors that a process takes for a work."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(f"{work}\n")
    child.stdin.flush()
    wall, cpu = map(float, child.stdout.readline().split())
    return wall, cpu


def compare(children: dict[str, subprocess.Popen[str]], work: str, rounds: int) -> dict[str, Sequence[float]]:
    """By setting: how many times as fast as the first, and its share of the first one's processor time."""
    found: dict[str, list[tuple[float, float]]] = {setting: [] for setting in children}
    for _ in range(rounds):
        taken = {setting: measure(child, work) for setting, child in children.items()}
        wall, cpu = next(iter(taken.values()))
        for setting, (seconds, processor) in taken.items():
            found[setting].append((wall / seconds, processor / cpu))
    return {
        setting: [statistics.median(column) for column in zip(*values, strict=True)]
        for setting, values in found.items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--busy", default="0,1,2", help="numbers of busy processes")
    parser.add_argument("--photographs", type=int, default=32)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another policy")
    chosen = parser.parse_args()
    print(machine("torch", "mmencode"))
    rows: list[tuple[str, ...]] = [
        ("busy processes", "work", "policy", "times as fast as the default", "share of its processor time")
    ]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        photographs(Path(folder), chosen.photographs)
        children = {
            setting: stack.enter_context(encoding(Path(folder), setting))
            for setting in ("", f"{SPINS}={SPIN_COUNT}", "OMP_WAIT_POLICY=passive", *chosen.set)
        }
        for count in map(int, chosen.busy.split(",")):
            with busy(count):
                for work in ("photographs", "texts", "texts one by one"):
                    found = compare(children, work, chosen.rounds)
                    for setting, (faster, share) in list(found.items())[1:]:
                        rows.append((str(count), work, setting, f"{faster:.2f}", f"{share:.2f}"))
                        print(*rows[-1], file=sys.stderr)
    table("How OpenMP's threads wait", rows)


if __name__ == "__main__":
    main()
