"""An open index in a process that was forked."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

# A child has so long; one that hangs is killed by its alarm, which the parent sees.
HEAD = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore")
import numpy as np
from mmencode import Embeddings, Index, Runtime, Space
from mmencode.testing import fake_specs

space = Space("fake", fake_specs(), runtime=Runtime("cpu", batch_size=4, workers=1))
def vectors(*keys, seed=0):
    rows = np.random.default_rng(seed).standard_normal((len(keys), 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Embeddings(rows, space=space.id, modality="image", keys=keys)
def in_child(do):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
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
index = Index.create(sys.argv[1], space)
index.add_embeddings(vectors("a", "b"))
"""
# LanceDB's own way, to start its threads anew in the child, crashes it more often than not.
USES = """
def refused():
    from mmencode.errors import StoreError
    for use in (
        lambda: index.search_embeddings(vectors("a"), 1),
        lambda: index.add_embeddings(vectors("late")),
        lambda: index.add("text", ["late"]),
        lambda: index.search("text", ["a"]),
        lambda: index.delete("true"),
        lambda: index.rows(),
        lambda: index.compact(),
        lambda: len(index),
        lambda: index.space,
        lambda: Index.open(sys.argv[1]),
        lambda: Index.create(sys.argv[1] + "2", space),
    ):
        try:
            use()
        except StoreError as error:
            assert "spawn" in str(error), error
        else:
            raise AssertionError("not refused")
    index.close()
ends_well(in_child(refused))
assert index.rows().embeddings.keys == ("a", "b")
"""
# The child neither has the lock that the parent took, nor keeps it when the parent lets go.
LOCK = """
from mmencode.index.locking import WriteLock
lock = WriteLock(index.path / "lock")
go = os.pipe()
with lock.held():
    child = in_child(lambda: os.read(go[0], 1))  # which lives on while the parent goes on writing
started = time.monotonic()
index.add_embeddings(vectors("late"))
assert time.monotonic() - started < 30
os.write(go[1], b"x")
ends_well(child)
"""
# A child whose parent dies in the middle of writing isn't what keeps others from it.
ORPHAN = (
    """
import subprocess
index.close()
WRITER = """
    + repr("""
import os, sys, time
from pathlib import Path
from mmencode.index.locking import WriteLock
with WriteLock(Path(sys.argv[1]) / "lock").held():
    if os.fork() == 0:
        os.closerange(0, 3)
        time.sleep(60)
        os._exit(0)
    os.kill(os.getpid(), 9)
""")
    + """
subprocess.run([sys.executable, "-c", WRITER, sys.argv[1]], timeout=60)
started = time.monotonic()
with Index.open(sys.argv[1], space=space) as again:
    again.add_embeddings(vectors("late"))
assert time.monotonic() - started < 30
"""
)
# Whatever the parent's threads are in the middle of, whichever locks they hold.
THREADS = """
from mmencode.errors import StoreError
stop = threading.Event()
def busy(name):
    number = 0
    while not stop.is_set():
        index.add_embeddings(vectors(f"{name}{number}", seed=number))
        index.search_embeddings(vectors("a"), 1)
        number += 1
threads = [threading.Thread(target=busy, args=(name,), daemon=True) for name in "xy"]
def refused():
    try:
        index.add_embeddings(vectors("late"))
    except StoreError:
        return
    raise AssertionError("not refused")
for thread in threads:
    thread.start()
for _ in range(10):
    time.sleep(0.03)
    ends_well(in_child(refused))
stop.set()
for thread in threads:
    thread.join(60)
keys = index.rows().embeddings.keys
assert len(keys) == len(set(keys)) > 2
"""
CASES = {"uses": USES, "lock": LOCK, "orphan": ORPHAN, "threads": THREADS}
FORKED_FIRST = """
import multiprocessing, sys
from mmencode import Index, Runtime, Space
from mmencode.testing import fake_specs
def made(path):
    space = Space("fake", fake_specs(), runtime=Runtime("cpu", batch_size=4, workers=1))
    with Index.create(path, space) as index:
        return index.add("text", ["one", "two"]).added
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map_async(made, [sys.argv[1] + "a", sys.argv[1] + "b"]).get(100) == [2, 2]
"""


def run(code, path):
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", CASES)
def test_a_forked_process_neither_hangs_nor_crashes_nor_holds_the_lock(tmp_path, case):
    run(HEAD + CASES[case], tmp_path / "index")


def test_processes_that_are_forked_before_any_index_is_used_have_their_own(tmp_path):
    run(FORKED_FIRST, tmp_path / "index")
