"""Measure the peak memory of this process and of those that render, over a fifth of some pages and over all.

They lie in documents of some hundred pages: of a longer one PDFium holds more. A process that renders ends
after a thousand pages, and another takes its place, so that the peak comes early.

python tests/benchmarks/documents.py [--pages 10000]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from itertools import chain
from pathlib import Path

from common import machine, table
from mmencode_documents import mmencode_encoders, mmencode_modalities
from mmencode_documents.drawing import make_pdf, write_words
from mmencode_documents.renderers import renderers

import mmencode
from mmencode import Space
from mmencode.engine.runtime import Runtime
from mmencode.inputs import list_parts
from mmencode.testing import fake_specs

CHUNK, OF_ONE = 50, 500  # pages that are encoded at once, and those of one document


def resident(process: int) -> float:
    """The MiB that a process has in memory."""
    with open(f"/proc/{process}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure() -> tuple[float, float]:
    """The MiB of this process, and of all that render for it."""
    children = [each._process.pid for each in renderers()._idle if each.alive]
    return resident(os.getpid()), sum(map(resident, children))


def main() -> None:
    """Render and encode every page of one document, and print the memory on the way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=10_000, help="a multiple of 250")
    count = parser.parse_args().pages
    in_between = (count // 5, count)
    print(machine("torch", "pypdfium2", "mmencode", "mmencode-documents"))
    (page,) = mmencode_modalities()
    from mmencode.plugins import Plugin

    specs = (*fake_specs(), next(iter(mmencode_encoders())))
    fakes = Plugin(
        distribution="fakes",
        version="1.0",
        entry_point="fakes",
        specs=specs,
        modalities=(page,),
        error=None,
        seconds=0.0,
    )
    mmencode.plugins.discover = lambda: [fakes]  # the fakes instead of what is installed
    mmencode.registry.cache_clear()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{first}.pdf" for first in range(0, count, OF_ONE)]
        for path, first in zip(paths, range(0, count, OF_ONE), strict=True):
            words = [write_words(f"Page {number}") for number in range(first, min(first + OF_ONE, count))]
            path.write_bytes(make_pdf(words, (300, 400)))
        start, done, marks = time.perf_counter(), 0, {}
        peak = (0.0, 0.0)
        spec = mmencode.registry()["page/image/fake"]
        parts = (list_parts("page", path) for path in paths)
        with Space("pages", [spec], runtime=Runtime("cpu", "float32", workers=2)) as space:
            for part in space.stream("page", chain.from_iterable(parts), chunk=CHUNK):
                done += len(part)
                peak = tuple(map(max, peak, measure()))
                if done in in_between:
                    marks[done] = peak
        seconds = time.perf_counter() - start
    rows = [("pages", "MiB here", "MiB in the processes that render", "of the first")]
    first = marks[in_between[0]]
    for at, (own, others) in marks.items():
        rows.append(
            (f"{at}", f"{own:.0f}", f"{others:.0f}", f"{own / first[0]:.2f}, {others / first[1]:.2f}")
        )
    table(f"Memory over generated pages; {done / seconds:.0f} pages a second", rows)


if __name__ == "__main__":
    main()
