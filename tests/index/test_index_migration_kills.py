"""A migration that is killed at any moment leaves the index whole, and goes on as if it hadn't been.

The moments are the calls of all that changes a file on the way: LanceDB's commits, those of the ledger, files
and folders that are renamed or removed. They are counted, so that a moment is the same one in each run.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import elsewhere
import numpy as np
import pytest
from PIL import Image

from mmencode import Index, Space
from mmencode.engine.runtime import Runtime
from mmencode.index import History, filling, migrate, moving
from mmencode.index.editions import Editions
from mmencode.testing import fake_specs

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of Unix")
ROWS, SECONDS = 32, 180
RUNTIME = Runtime("cpu", "float32", batch_size=4, workers=2)

# For each line of its input, forks off a process that runs a migration, and kills itself at a moment: before
# a call, or after it. The first one doesn't import LanceDB, whose threads wouldn't be there in the others.
SERVER = """
import json, os, pathlib, resource, shutil, signal, sqlite3, sys, traceback, warnings
warnings.simplefilter("ignore")
import pyarrow, torch
torch.set_num_threads(1)
import elsewhere
from mmencode import Space
from mmencode.engine.runtime import Runtime
from mmencode.errors import StoreError
from mmencode.index import History, filling, ledger, migrate, moving, surveying

filling.CHUNK = moving.CHUNK = 8
filling.MOST = 8 # so that there are many commits
surveying.GROUP = moving.GROUP = 16
runtime = Runtime("cpu", "float32", batch_size=4, workers=2)
target = Space("elsewhere", elsewhere.SPECS, runtime=runtime)
target.preload()
moment, count, pid = None, 0, os.getpid()

def watch(owner, name):
    plain = getattr(owner, name)
    def watched(*arguments, **options):
        global count
        count += 1
        if moment == 2 * count:
            os.kill(os.getpid(), signal.SIGKILL)
        result = plain(*arguments, **options)
        if moment == 2 * count + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, watched)

def watch_tables():
    import lancedb.merge, lancedb.table
    for name in ("add", "delete", "add_columns", "optimize"):
        watch(lancedb.table.LanceTable, name)
    watch(lancedb.merge.LanceMergeInsertBuilder, "execute")

for name in ("note", "finish", "forget_others"):
    watch(ledger.Ledger, name)
for name in ("rename", "replace"):
    watch(pathlib.Path, name)
watch(shutil, "rmtree")

for line in sys.stdin:
    moment, path, acts = json.loads(line)
    count = 0
    child = os.fork()
    if not child:
        code = 1
        try:
            signal.alarm(120)
            watch_tables()
            for act in acts:
                if isinstance(act, int):
                    resource.setrlimit(resource.RLIMIT_FSIZE, (act, resource.RLIM_INFINITY))
                elif act == "migrate":
                    migrate(path, target)
                else:
                    getattr(History(path), act)()
            with open(path + ".moments", "w") as file:
                file.write(str(2 * count + 1))
            code = 0
        except StoreError as error:
            code = 3 if "make room" in error.remedy or "space" in error.remedy else 2
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An index of images and texts, which each test copies."""
    pytest.importorskip("lancedb")
    top = tmp_path_factory.mktemp("made")
    (top / "photos").mkdir()
    for number in range(ROWS // 2):
        path = top / "photos" / f"{number:02}.png"
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        os.utime(path, (1, 1))
    files = sorted((top / "photos").iterdir())
    with (
        Space("fake", fake_specs(), runtime=RUNTIME) as space,
        Index.create(top / "index", space) as index,
    ):
        index.add("image", files, metadata=[{"number": number} for number in range(len(files))])
        texts = [f"text {number}" for number in range(ROWS // 2)]
        index.add("text", texts, keys=[f"key {text}" for text in texts], keep_text=True)
        index.add("text", [""], keys=["bad"], on_error="skip")
        assert len(index) == ROWS
    return top / "index"


class Killed:
    """The process that forks; `run` gives the exit code of the one that it forks off."""

    def __init__(self):
        paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, path, *acts, moment=None):
        """Run acts on an index, to the end or up to a moment; return the exit code."""
        self._process.stdin.write(json.dumps([moment, str(path), acts]) + "\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], SECONDS)[0]:
            self.stop()
            raise AssertionError("the other process hangs")
        return int(self._process.stdout.readline())

    def stop(self):
        """End it."""
        self._process.kill()
        self._process.communicate(timeout=SECONDS)


@pytest.fixture(scope="module")
def killed():
    process = Killed()
    yield process
    process.stop()


def content(path, space):
    with Index.open(path, space=space) as index:
        rows = index.rows()
        assert index.search_embeddings(rows.embeddings[:3], 1)[0][0].key == rows.embeddings.keys[0]
        facts = list(zip(rows.embeddings.keys, rows.modalities, rows.metadata, strict=True))
        return facts, index.failures(), rows.embeddings.vectors


def assert_same(found, expected):
    assert found[:2] == expected[:2]
    assert np.array_equal(found[2], expected[2])


@pytest.fixture
def spaces():
    with (
        Space("fake", fake_specs(), runtime=RUNTIME) as fake,
        Space("elsewhere", elsewhere.SPECS, runtime=RUNTIME) as other,
    ):
        yield fake, other


@pytest.fixture
def check(made, tmp_path, spaces, killed, monkeypatch):
    """Kill a migration at shares of all its moments, and compare with an undisturbed one."""
    fake, other = spaces
    before = content(made, fake)
    for owner, name, value in ((filling, "MOST", 8), (moving, "CHUNK", 8), (moving, "GROUP", 16)):
        monkeypatch.setattr(owner, name, value)

    def fresh(name):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        return Path(shutil.copytree(made, tmp_path / name))

    def do(shares):
        undisturbed = fresh("undisturbed")
        assert killed.run(undisturbed, "migrate") == 0
        moments = int((tmp_path / "undisturbed.moments").read_text())
        expected = content(undisturbed, other)
        for share in shares:
            path = fresh("index")
            moment = 2 + round(share * (moments - 2))
            assert killed.run(path, "migrate", moment=moment) == -signal.SIGKILL, (moment, moments)
            swapped = bool(Editions.read(path).current)
            assert_same(content(path, other if swapped else fake), expected if swapped else before)
            migrate(path, other)
            assert_same(content(path, other), expected)
            assert [edition.standing for edition in History(path).editions()] == ["earlier", "current"]
            History(path).undo()
            assert_same(content(path, fake), before)
            left = {each.name for each in (path / "editions").iterdir()}
            assert left == {"lock", *Editions.read(path).undone}

    return do


def test_migration_killed_at_three_moments_goes_on(check):
    check((0.3, 0.6, 0.97))


@pytest.mark.slow
def test_migration_killed_at_twenty_moments_goes_on(check):
    check(np.linspace(0, 1, 20))


@pytest.mark.slow
def test_full_disk_is_a_named_error_and_the_migration_goes_on_once_there_is_room(
    made, tmp_path, spaces, killed
):
    fake, other = spaces
    before = content(made, fake)
    codes = []
    for limit in (500, 3000, 5000, 9000, 14000):  # of each file, in bytes
        path = Path(shutil.copytree(made, tmp_path / str(limit)))
        codes.append(killed.run(path, limit, "migrate"))
        if codes[-1]:
            assert_same(content(path, fake), before)
        assert killed.run(path, "migrate") == 0
        assert len(content(path, other)[0]) == ROWS
    assert set(codes) <= {0, 3}
    assert codes.count(3) >= 3


@pytest.mark.slow
def test_undo_redo_and_forget_killed_at_any_moment_leave_one_whole_edition(made, tmp_path, spaces, killed):
    fake, other = spaces
    base = Path(shutil.copytree(made, tmp_path / "base"))
    migrate(base, other)
    before, after = content(made, fake), content(base, other)
    for act, expected in (("undo", before), ("forget", after)):
        path = Path(shutil.copytree(base, tmp_path / act))
        assert killed.run(path, act) == 0
        moments = int((tmp_path / f"{act}.moments").read_text())
        assert moments > 2
        for moment in range(2, moments + 1):
            shutil.rmtree(path)
            shutil.copytree(base, path)
            assert killed.run(path, act, moment=moment) == -signal.SIGKILL
            first = Editions.read(path).current == ""
            assert_same(content(path, fake if first else other), before if first else after)
            assert first or act == "forget" or moment < moments
            if not first:
                assert killed.run(path, act) == 0
            assert_same(content(path, fake if act == "undo" else other), expected)
            assert (path / "rows.lance").exists() is (act == "undo")
