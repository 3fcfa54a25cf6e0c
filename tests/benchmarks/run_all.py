"""Run the benchmarks and write what they print between the markers of docs/performance.md.

python tests/benchmarks/run_all.py [NAME ...]

With names, only these run, and the others' tables stay as they are.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "performance.md"
START, END = "<!-- benchmarks -->\n", "<!-- end -->\n"
NAMES = (
    "peers",
    "limits",
    "gains",
    "latency",
    "busy",
    "startup",
    "offline",
    "memory",
    "towers",
    "classification",
    "index_search",
    "index_add",
)


def main() -> None:
    """Replace the page's tables; nothing is written unless every script succeeds."""
    chosen = sys.argv[1:] or NAMES
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    old, _, after = rest.partition(END)
    parts = [printed(name) if name in chosen else kept(old, name) for name in NAMES]
    PAGE.write_text(before + START + "\n" + "\n".join(parts) + "\n" + END + after, encoding="utf-8")


def printed(name: str) -> str:
    """What a script prints now, on which machine."""
    command = [sys.executable, HERE / f"{name}.py"]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    print(found)
    return f"{heading(name)}{found}"


def kept(old: str, name: str) -> str:
    """What the page has of a script."""
    _, _, found = old.partition(heading(name))
    return f"{heading(name)}{found.partition(heading(''))[0].rstrip()}\n"


def heading(name: str) -> str:
    """How a script's part begins; without a name, how any does."""
    return f"`python tests/benchmarks/{name}.py` on " if name else "`python tests/benchmarks/"


if __name__ == "__main__":
    main()
