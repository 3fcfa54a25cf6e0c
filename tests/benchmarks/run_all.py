"""Run the benchmarks and write what they print between the markers of docs/performance.md.

python tests/benchmarks/run_all.py [--quick] [--limit MINUTES] [NAME ...]

With names, only these run, and the others' tables stay as they are. With --quick they have fewer rounds and
smaller sizes, and nothing is written: it shows that every script runs. The minutes of each are printed,
and none may take longer than --limit. What needs a GPU is gpu.py's business.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "performance.md"
START, END = "<!-- benchmarks -->\n", "<!-- end -->\n"
# By name the arguments with which a script takes little time.
QUICK: dict[str, tuple[str, ...]] = {
    "peers": ("--rounds", "1", "--only", "text", "images"),
    "backends": ("--rounds", "1"),
    "limits": ("--rounds", "1"),
    "gains": ("--rounds", "1", "--only", "packing", "padding"),
    "latency": ("--rounds", "20"),
    "busy": ("--rounds", "1"),
    "startup": (),
    "offline": ("--rounds", "1"),
    "memory": ("--most", "1000"),
    "towers": (),
    "omni": ("--rounds", "1", "--count", "64"),
    "video": ("60",),
    "documents": ("--pages", "1000"),
    "maxsim": ("--documents", "1000"),
    "classification": (),
    "serving": ("--rounds", "1", "--seconds", "0.5", "--clients", "1", "8"),
    "serving_soak": ("--minutes", "0.2"),
    "scale": ("--units", "3", "--actors", "1", "2", "--captions", "400", "--shards", "500"),
    "index_search": ("--rows", "20000", "--queries", "10", "--rounds", "1"),
    "index_add": ("--rows", "20000"),
    "hybrid": ("--documents", "200", "--queries", "20", "--rows", "5000", "--rounds", "1"),
}
NAMES = tuple(name for name in QUICK if (HERE / f"{name}.py").is_file())


def main() -> None:
    """Replace the page's tables; nothing is written unless every script succeeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="see whether all run; write nothing")
    parser.add_argument("--limit", type=float, default=60, help="minutes that a script may take")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(NAMES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    chosen = asked.names or NAMES
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    old, _, after = rest.partition(END)
    parts = [
        printed(name, QUICK[name] if asked.quick else (), asked.limit) if name in chosen else kept(old, name)
        for name in NAMES
    ]
    if not asked.quick:
        found = "\n".join(part for part in parts if part)
        PAGE.write_text(f"{before}{START}\n{found}\n{END}{after}", encoding="utf-8")


def printed(name: str, arguments: tuple[str, ...], limit: float) -> str:
    """What a script prints now, on which machine: one line of that, and its tables."""
    command = [sys.executable, str(HERE / f"{name}.py"), *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60 * limit)
    print(f"{done.stdout}\n[{name}: {(time.perf_counter() - start) / 60:.1f} minutes]\n", flush=True)
    require_tables(name, done.stdout)
    return f"{heading(name)}{done.stdout}"


def require_tables(name: str, text: str) -> None:
    """Stop unless a script printed a line about the machine, and then nothing but tables with titles."""
    machine, *lines = text.splitlines() or [""]
    others = [line for line in lines if line.strip() and not line.startswith(("**", "|"))]
    if not machine.strip() or machine.startswith(("**", "|")) or others or "\n|---|" not in text:
        raise SystemExit(f"{name}.py printed something else than a machine and its tables:\n{text}")


def kept(old: str, name: str) -> str:
    """What the page has of a script; nothing where it has none yet."""
    _, there, found = old.partition(heading(name))
    return f"{heading(name)}{found.partition(heading(''))[0].rstrip()}\n" if there else ""


def heading(name: str) -> str:
    """How a script's part begins; without a name, how any does."""
    return f"`python tests/benchmarks/{name}.py` on " if name else "`python tests/benchmarks/"


if __name__ == "__main__":
    main()
