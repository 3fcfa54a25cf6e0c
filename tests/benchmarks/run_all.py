"""Run the benchmarks and write what they print between the markers of docs/performance.md.

python tests/benchmarks/run_all.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "performance.md"
START, END = "<!-- benchmarks -->\n", "<!-- end -->\n"


def main() -> None:
    """Replace the page's tables; nothing is written unless every script succeeds."""
    parts = []
    for name in ("peers", "limits", "gains", "latency", "startup", "offline", "memory"):
        command = [sys.executable, HERE / f"{name}.py"]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        print(printed)
        parts.append(f"`python tests/benchmarks/{name}.py` on {printed}")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + START + "\n" + "\n".join(parts) + "\n" + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
