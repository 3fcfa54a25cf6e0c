"""What importing, asking for help and listing cost beside a bare interpreter, and the rest beside torch.

python tests/benchmarks/startup.py
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from common import child, machine, photographs, table, timed

LOAD = """
import resource, time, torch
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
before, memory = time.perf_counter(), resident()
import mmencode
space = mmencode.load("default")
for modality in space.modalities:
    space.encode(modality, [])
print(time.perf_counter() - before, resident() - memory, len(space.modalities))
"""


COMMAND = """
import contextlib, io, sys
sys.argv = ["mmencode", *{arguments}]
from mmencode.cli import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main()
"""


def above_torch(command: list[str], rounds: int = 7) -> tuple[float, float]:
    """The seconds of a whole command above `import torch`, of the clock and of the processors.

    The two run in turn; the medians of the rounds' differences are given.
    """
    differences = []
    for number in range(rounds + 1):
        torch, whole = taken([sys.executable, "-c", "import torch"]), taken(command)
        if number:  # the first round warms the disk's cache
            differences.append([more - less for more, less in zip(whole, torch, strict=True)])
    wall, cpu = map(statistics.median, zip(*differences, strict=True))
    return wall, cpu


def taken(command: list[str]) -> tuple[float, float]:
    """The seconds that a process takes, of the clock and of the processors."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def median(command: list[str], rounds: int = 7) -> float:
    """The median seconds of a whole process, after one run that warms the disk's cache."""
    run = lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: E731
    run()
    return statistics.median(timed(run) for _ in range(rounds))


def main() -> None:
    """Print both tables."""
    print(machine("torch", "mmencode"))
    mmencode = str(Path(sys.executable).with_name("mmencode"))
    bare = median([sys.executable, "-c", "pass"])
    rows = [("command", "seconds above a bare interpreter", "imports torch")]
    for name, command in {
        "import mmencode": [sys.executable, "-c", "import mmencode"],
        "mmencode --help": [mmencode, "--help"],
        "mmencode list": [mmencode, "list"],
        "mmencode plugins": [mmencode, "plugins"],
    }.items():
        arguments = command[1:] if command[0] == mmencode else None
        code = "import sys, mmencode"
        if arguments:
            code = COMMAND.format(arguments=arguments)
        torch = child(f"{code}\nprint('torch' in sys.modules)")[-1]
        rows.append((name, f"{median(command) - bare:.3f}", torch))
    table(f"Start-up (bare interpreter: {bare:.3f} s)", rows)

    rows = [("command", "seconds above `import torch`", "processor seconds above it")]
    with tempfile.TemporaryDirectory() as folder:
        photos = map(str, photographs(Path(folder), 5))
        wall, cpu = above_torch([mmencode, "classify", *photos, "--labels", "cat,dog,car"])
    rows.append(("mmencode classify, five photographs and three labels", f"{wall:.2f}", f"{cpu:.2f}"))
    table("A command from its start to its end", rows)

    loads = [child(LOAD) for _ in range(4)][1:]
    seconds, memory = (statistics.median(float(load[column]) for load in loads) for column in (0, 1))
    rows = [("towers", "seconds beyond `import torch`", "MiB beyond `import torch`")]
    rows.append((loads[0][2], f"{seconds:.2f}", f"{memory:.0f}"))
    table("Loading the default space", rows)


if __name__ == "__main__":
    main()
