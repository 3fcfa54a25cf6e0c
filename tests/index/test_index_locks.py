"""The lock of writers: what isn't one, and file systems that have none."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time

import pytest

from mmencode import Index
from mmencode.errors import BusyError, StoreError
from mmencode.index import locking
from mmencode.index.locking import WriteLock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks are other ones there")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO, errno.EINVAL])
def test_a_file_system_that_cannot_lock_is_named_at_once(index, vectors, monkeypatch, number):
    def refuse(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locking, "_take", refuse)
    with pytest.raises(StoreError, match="file system can't lock files") as raised:
        index.add_embeddings(vectors("a"))
    assert os.strerror(number) in str(raised.value)
    assert not isinstance(raised.value, BusyError)
    monkeypatch.undo()
    assert index.add_embeddings(vectors("a")).added == 1


def test_a_lock_that_is_a_link_is_not_followed(index, vectors, tmp_path):
    (index.path / "lock").unlink(missing_ok=True)
    (index.path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(StoreError, match="lock is a link"):
        index.add_embeddings(vectors("a"))
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_lock_that_is_no_file_is_refused_at_once(index, vectors, make):
    (index.path / "lock").unlink(missing_ok=True)
    make(index.path / "lock")
    with pytest.raises(StoreError, match=r"lock (is no regular file|can't be opened)"):
        index.add_embeddings(vectors("a"))
    assert len(index) == 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_read_all_the_same(index, vectors):
    index.add_embeddings(vectors("a"))
    (index.path / "lock").chmod(0o400)
    assert len(index) == 1
    with pytest.raises(StoreError, match="can't be opened"):
        index.add_embeddings(vectors("b"))


def test_a_lock_can_be_taken_again_within_itself(tmp_path):
    lock = WriteLock(tmp_path / "lock")
    with lock.hold(), lock.hold():
        pass
    with lock.hold():
        pass


def test_a_thread_that_waits_too_long_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(locking, "WAIT", 0.1)
    lock, taken, go = WriteLock(tmp_path / "lock"), threading.Event(), threading.Event()

    def hold():
        with lock.hold():
            taken.set()
            go.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait(30)
    with pytest.raises(BusyError, match="another thread"), lock.hold():
        pass
    go.set()
    thread.join(60)


def test_a_lock_whose_file_is_replaced_while_it_is_waited_for_is_taken_anew(tmp_path):
    """A lock on a file that lost its name would exclude nobody."""
    first, second = WriteLock(tmp_path / "lock"), WriteLock(tmp_path / "lock")
    order = []
    taken = threading.Event()

    def wait():
        taken.wait(30)
        with second.hold():
            order.append("second")
            assert os.stat(tmp_path / "lock").st_ino == os.fstat(second._handle).st_ino

    thread = threading.Thread(target=wait)
    thread.start()
    with first.hold():
        taken.set()
        time.sleep(0.1)  # so that the other waits on the file that is about to go
        (tmp_path / "lock").unlink()
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


def test_two_handles_of_one_index_take_turns(index, space, vectors):
    with Index.open(index.path, space=space) as other:
        threads = [
            threading.Thread(target=handle.add_embeddings, args=(vectors(f"{place}-{number}"),))
            for number in range(4)
            for place, handle in enumerate((index, other))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert len(index) == len(other) == 8
