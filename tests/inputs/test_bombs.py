"""Small files that would cost much are refused by name, before they are decoded and within their budget."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import hostile
import pytest

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are those of Linux")
avif = pytest.mark.skipif(not hostile.AVIF, reason="this Pillow reads no AVIF")

FILES = {
    "webp of 16383 x 16383": (lambda: hostile.webp(16383, 16383), "268402689 pixels"),
    "webp of 16383 x 12288": (lambda: hostile.webp(16383, 12288), "bytes of memory"),
    "webp of 8000 x 8000": (lambda: hostile.webp(8000, 8000), "bytes of memory"),
    "webp with a canvas of 2^48": (lambda: hostile.webp_canvas(2**24, 2**24), "16777216 x 16777216"),
    "avif of 75 megapixels": (lambda: hostile.boxed(b"avif", 10000, 7500), "bytes of memory"),
    "heic of 75 megapixels": (lambda: hostile.boxed(b"heic", 10000, 7500), "bytes of memory"),
    "heic of 2^62": (lambda: hostile.boxed(b"heic", 2**31, 2**31), "bytes of memory"),
    "jxl of 2^60": (lambda: hostile.jxl(2**30, 2**30), "1073741824 x 1073741824"),
    "jxl of 40 megapixels": (lambda: hostile.jxl(8000, 5000), "bytes of memory"),
    "tiff with a tile of 26000": (lambda: hostile.tiled_tiff(26000), "bytes of memory"),
    "tiff of 2^62": (lambda: hostile.tiff(2**31, 2**31, (273, 4, (8,)), (279, 4, (8,))), "2147483648 x"),
    "png of 16 bits": (lambda: hostile.png(13000, 15000, 16, 0), "bytes of memory"),
    "png of 8 bits": (lambda: hostile.png(13000, 15000), "bytes of memory"),
    "png of one bit": (lambda: hostile.png(14000, 14000, 1, 0), "bytes of memory"),
    "png of a pixel's width": (lambda: hostile.png(1, 30_000_000, 8, 0), "bytes of memory"),
    "png of 2^62": (lambda: hostile.png(2**31 - 1, 2**31 - 1, rows=b""), "2147483647 x"),
    "jpeg of 1000 scans": (lambda: hostile.scanned_jpeg(800, 800, 1000), "1000 scans"),
    "jpeg of 20000 scans": (lambda: hostile.scanned_jpeg(800, 800, 20000), "20000 scans"),
    "large jpeg of 400 scans": (lambda: hostile.scanned_jpeg(4000, 3000, 400), "4800000000 pixels"),
    "jpeg of 65535 x 65535": (lambda: hostile.jpeg_of(65535, 65535), "4294836225 pixels"),
    "gif of 65535 x 65535": (lambda: hostile.gif(65535, 65535), "4294836225 pixels"),
    "gif of 14000 x 14000": (lambda: hostile.gif(14000, 14000), "bytes of memory"),
    "gif with a frame of 65535 x 65535": (
        lambda: hostile.gif_with_a_large_frame(65535, 2),
        "4294836225 pixels",
    ),
    "gif with a frame of 12000 x 12000": (
        lambda: hostile.gif_with_a_large_frame(12000, 3),
        "bytes of memory",
    ),
    "bmp with jumps": (lambda: hostile.packed_bmp(2**27, 1, 255, 255), "decodes slowly"),
    "netpbm of 10^18": (lambda: b"P6\n1000000000 1000000000\n255\n" + bytes(99), "1000000000 x"),
    "plain netpbm": (lambda: b"P2\n14000 14000\n65535\n" + b"0 " * 99, "bytes of memory"),
}

# Each file in a process of its own, forked from one that has imported everything.
SCRIPT = """
import json, os, pickle, resource, signal, sys
from mmencode.inputs import Limits
from mmencode.inputs.image import read

def report(content):
    with open("/proc/self/statm") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + 400 * 2**20,) * 2)
    signal.alarm(20)
    try:
        read(content, Limits())
        return {"fact": "it was read"}
    except Exception as error:
        return {"fact": str(error), "fault": getattr(error, "fault", type(error).__name__)}

found = {}
for name, content in pickle.load(sys.stdin.buffer).items():
    there, here = os.pipe()
    if not (child := os.fork()):
        os.write(here, json.dumps(report(content)).encode())
        os._exit(0)
    os.close(here)
    status = os.waitpid(child, 0)[1]
    said = os.read(there, 2**16)
    found[name] = json.loads(said) if said else {"fact": f"it ended with status {status}"}
print(json.dumps(found))
"""


def in_a_small_process(files):
    import pickle

    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=pickle.dumps({name: make() for name, (make, _) in files.items()}),
        capture_output=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert answer.returncode == 0, answer.stderr.decode()
    return json.loads(answer.stdout)


@pytest.fixture(scope="module")
def reports():
    return in_a_small_process(FILES)


@linux
@pytest.mark.parametrize("name", FILES)
def test_small_file_that_would_cost_much_is_refused_by_a_limit(name, reports):
    said = reports[name]
    assert FILES[name][1] in said["fact"]
    assert said["fault"] == "limit"
    assert "--limit" in said["fact"]
