"""What importing, asking for help and listing cost beside a bare interpreter, and loading beside torch.

python tests/benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

from common import child, machine, table, timed

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

    loads = [child(LOAD) for _ in range(4)][1:]
    seconds, memory = (statistics.median(float(load[column]) for load in loads) for column in (0, 1))
    rows = [("towers", "seconds beyond `import torch`", "MiB beyond `import torch`")]
    rows.append((loads[0][2], f"{seconds:.2f}", f"{memory:.0f}"))
    table("Loading the default space", rows)


if __name__ == "__main__":
    main()
