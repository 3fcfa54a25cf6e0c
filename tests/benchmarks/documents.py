"""Measure the memory of this process and of those that render, over 1000 and over 10 000 generated pages.

python tests/benchmarks/documents.py
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from mmencode_documents import mmencode_encoders, mmencode_modalities
from mmencode_documents.drawing import make_pdf, write_words
from mmencode_documents.renderers import renderers

import mmencode
from mmencode import Space
from mmencode.engine.runtime import Runtime
from mmencode.inputs import list_parts
from mmencode.testing import fake_specs

PAGES = 10_000
CHUNK = 250
MARKS = (1_000, PAGES)


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
        path = Path(folder) / "long.pdf"
        path.write_bytes(make_pdf([write_words(f"Page {number}") for number in range(PAGES)], (300, 400)))
        start, done, marks = time.perf_counter(), 0, {}
        spec = mmencode.registry()["page/image/fake"]
        with Space("pages", [spec], runtime=Runtime("cpu", "float32", workers=2)) as space:
            for part in space.stream("page", list_parts("page", path), chunk=CHUNK):
                done += len(part)
                if done in MARKS:
                    marks[done] = measure()
        seconds = time.perf_counter() - start
    for count, (own, others) in marks.items():
        print(f"{count:>6} pages: {own:.0f} MiB here, {others:.0f} MiB in the processes that render")
    growth = [after / before for before, after in zip(*(marks[count] for count in MARKS), strict=True)]
    print(f"growth by ten times the pages: {growth[0]:.2f} and {growth[1]:.2f}")
    print(f"{done / seconds:.0f} pages a second")


if __name__ == "__main__":
    main()
