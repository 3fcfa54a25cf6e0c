"""An open index in a process that was forked."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

# LanceDB's own way, to start its threads anew in the child, crashes it more often than not.
MADE = """
index = Index.create(path, space)
index.add_embeddings(vectors("a", "b"))
"""
USES = """
def refused():
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
        lambda: Index.open(path),
        lambda: Index.create(path + "2", space),
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
with lock.hold():
    child = in_child(lambda: os.read(go[0], 1))  # which lives on while the parent goes on writing
started = time.monotonic()
index.add_embeddings(vectors("late"))
assert time.monotonic() - started < 30
os.write(go[1], b"x")
ends_well(child)
"""
# A child whose parent dies in the middle of writing isn't what keeps others from it.
ORPHAN = """
from mmencode.index.locking import WriteLock
go = os.pipe()
def dies():
    with WriteLock(index.path / "lock").hold():
        if os.fork() == 0:
            os.close(go[1])
            os.read(go[0], 1)
            os._exit(0)
        os.kill(os.getpid(), 9)
assert os.waitpid(in_child(dies), 0)[1] == 9
started = time.monotonic()
index.add_embeddings(vectors("late"))
assert time.monotonic() - started < 30
os.close(go[0])
os.close(go[1])
"""
# Whichever locks the parent's threads hold.
THREADS = """
held, go = threading.Event(), threading.Event()
def busy():
    with index._store.lock.hold(), index._store.tables.guard, index._store.tables.rows._guard:
        held.set()
        go.wait(60)
thread = threading.Thread(target=busy)
thread.start()
held.wait(60)
def refused():
    for use in (lambda: index.add_embeddings(vectors("late")), index.rows, lambda: index.space):
        try:
            use()
        except StoreError:
            continue
        raise AssertionError("not refused")
try:
    ends_well(in_child(refused))
finally:
    go.set()
    thread.join(60)
index.add_embeddings(vectors("late"))
"""
# A child that ends as any script does, LanceDB's own way out included.
EXIT = """
child = os.fork()
if child == 0:
    signal.alarm(60)
    sys.exit(0)
ends_well(child)
"""
CASES = {"uses": USES, "lock": LOCK, "orphan": ORPHAN, "threads": THREADS, "exit": EXIT}


@pytest.mark.parametrize("case", CASES)
def test_a_forked_process_neither_hangs_nor_crashes_nor_holds_the_lock(other, tmp_path, case):
    other.run(MADE + CASES[case], tmp_path / "index")


def test_processes_that_are_forked_before_any_index_is_used_have_their_own(other):
    other.run("for child in first: ends_well(child)")
