"""Peak memory against the number of items: it must not depend on it.

python tests/benchmarks/memory.py [--most 100000]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from common import child, machine, photographs, table

CODE = """
import resource, sys
sys.path.insert(0, {here!r})
from common import captions
from pathlib import Path
import mmencode
kept = captions(1000) if {modality!r} == "text" else sorted(Path({folder!r}).iterdir())
items = (kept[number % len(kept)] for number in range({count}))
with mmencode.load("default", device="cpu") as space:
    for part in space.stream({modality!r}, items):
        assert not part.errors
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)
"""


def peak(modality: str, count: int, folder: Path) -> float:
    """MiB of a fresh process that streams `count` items, at its peak."""
    here = str(Path(__file__).parent)
    code = CODE.format(here=here, modality=modality, count=count, folder=str(folder))
    return float(child(code)[-1])


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=100_000, help="no more items than these")
    most = parser.parse_args().most
    print(machine("torch", "mmencode", "mmencode-offline"))
    rows = [("items", "peak, MiB", "ratio to the fewer")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs(folder, 100)
        for modality, what, counts in (
            ("text", "sentences", (1000, 10_000, 100_000)),
            ("image", "photographs", (1000, 10_000)),
        ):
            counts = tuple(count for count in counts if count <= most)
            peaks = [peak(modality, count, folder) for count in counts]
            for count, mebibytes in zip(counts, peaks, strict=True):
                rows.append((f"{count} {what}", f"{mebibytes:.0f}", f"{mebibytes / peaks[0]:.3f}"))
    table("Peak memory", rows)


if __name__ == "__main__":
    main()
