"""An index of fakes, and vectors to put in it."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmencode import Embeddings, Index, Space

pytest.importorskip("lancedb", reason="an index is on LanceDB: pip install 'mmencode[index]'")

SECONDS = 180  # after which what runs there counts as hanging

SERVER = """
import json, os, signal, sys, threading, time, traceback, warnings
warnings.simplefilter("ignore")
import numpy as np
from mmencode import Embeddings, Index, Runtime, Space
from mmencode.errors import MmencodeError, StoreError
from mmencode.testing import fake_specs

space = Space("fake", fake_specs(), runtime=Runtime("cpu", batch_size=4, workers=1))

def vectors(*keys, seed=0):
    rows = np.random.default_rng(seed).standard_normal((len(keys), 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Embeddings(rows, space=space.id, modality="image", keys=keys)

def in_child(do):
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a child that hangs is killed, which its parent sees
        code = 1
        try:
            do()
            code = 0
        except BaseException as error:
            print(type(error).__name__, error, file=sys.stderr, flush=True)
        os._exit(code)
    return child

def ends_well(child):
    _, status = os.waitpid(child, 0)
    assert status == 0, status

def make_and_read(path):
    with Index.create(path, space) as index:
        assert index.add("text", ["one", "two"]).added == 2
        assert index.rows().embeddings.keys == ("one", "two")

# Two that are forked before this process has used any index.
first = [in_child(lambda place=place: make_and_read(sys.argv[1] + str(place))) for place in range(2)]
for line in sys.stdin:
    code, path = json.loads(line)
    error = ""
    try:
        exec(code, {**globals(), "path": path})
    except Exception:
        error = traceback.format_exc()
    print(json.dumps(error), flush=True)
"""


class Other:
    """The process; `run` waits for what it does, `start` and `end` do so in two steps."""

    def __init__(self, folder: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def start(self, code: str, path: object = "") -> None:
        """Have the code executed, which finds `path`."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([code, str(path)]).encode() + b"\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Wait for its end; AssertionError, with its traceback, where it failed or hangs."""
        out = self._process.stdout
        assert out
        if not select.select([out], [], [], SECONDS)[0]:
            self.stop()
            raise AssertionError("the other process hangs")
        line = out.readline()
        assert line, "the other process has died"
        error = json.loads(line)
        assert not error, error

    def run(self, code: str, path: object = "") -> None:
        """Have the code executed and wait for its end."""
        self.start(code, path)
        self.end()

    def stop(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.communicate(timeout=60)


@pytest.fixture
def index(tmp_path: Path, space: Space) -> Iterator[Index]:
    with Index.create(tmp_path / "index", space) as made:
        yield made


@pytest.fixture
def vectors(space: Space) -> Callable[..., Embeddings]:
    """Random vectors of the space with these keys."""

    def make(*keys: str, modality: str = "image", seed: int = 0, dim: int = 8) -> Embeddings:
        rows = np.random.default_rng(seed).standard_normal((len(keys), dim)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return Embeddings(rows, space=space.id, modality=modality, keys=keys)

    return make


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve small images, two of them in a folder of their own, and one that is none."""
    top = tmp_path / "photos"
    (top / "sub").mkdir(parents=True)
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(top / ("sub" if number > 9 else "") / f"{number:02}.png")
    (top / "broken.png").write_bytes(b"no image")
    return top


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Other]:
    """Another process, which runs code on an index, and serves all tests since it takes long to start."""
    process = Other(str(tmp_path_factory.mktemp("other") / "first"))
    yield process
    process.stop()
