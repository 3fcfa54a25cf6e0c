"""The threads that torch's operations take within a call, and that nothing of the caller's is changed."""

from __future__ import annotations

import os
import sys
import threading

import pytest
import torch

from mmencode.engine.cores import Cores
from mmencode.engine.runtime import Runtime
from mmencode.engine.teams import at_most, take_at_most
from mmencode.plugins.spec import EncoderSpec
from mmencode.spaces.space import Space
from mmencode.testing import FakeText

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="torch's libraries aren't looked through there"
)


@pytest.fixture
def four():
    """Give torch four threads, however many cores there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


class Watched(FakeText):
    """A fake that notes how many threads torch's operations would take, in which thread."""

    def __init__(self):
        super().__init__()
        self.preparing, self.computing = [], []
        self.both = threading.Barrier(2, timeout=10)

    def preprocess(self, item):
        if item == "meet":  # so that both workers have begun
            self.both.wait()
        self.preparing.append((item, torch.get_num_threads()))
        return super().preprocess(item)

    def forward(self, tensors):
        self.computing.append(torch.get_num_threads())
        return super().forward(tensors)


def _space(monkeypatch, encoder, cores, workers):
    monkeypatch.setattr("mmencode.engine.runtime.count_cores", lambda: cores)
    monkeypatch.setitem(globals(), "_target", lambda: encoder)
    spec = EncoderSpec(name="test", modality="text", target=f"{__name__}:_target", dim=8)
    return Space("test", [spec], runtime=Runtime("cpu", workers=workers))


def _operating_system_threads():
    return len(os.listdir("/proc/self/task"))


@pytest.mark.usefixtures("four")
def test_workers_share_the_cores_and_the_caller_keeps_its_threads(monkeypatch):
    with _space(monkeypatch, Watched(), Cores(4), 2) as space:
        space.encode("text", ["meet"] * 2 + ["a", "b"] * 40)
        encoder = space._calls.members.towers("text")[0].encoder
    assert {count for item, count in encoder.preparing if item != "meet"} <= {2, 4}
    assert encoder.preparing[-1][1] == 2
    assert set(encoder.computing) == {4}
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four")
def test_quota_bounds_a_call_and_nothing_else(monkeypatch):
    with _space(monkeypatch, Watched(), Cores(4, 1.5), "auto") as space:
        assert space.runtime.workers == 1
        space.encode("text", ["a", "b"])
        encoder = space._calls.members.towers("text")[0].encoder
    assert {count for _, count in encoder.preparing} == set(encoder.computing) == {1}
    assert torch.get_num_threads() == 4
    others = []
    thread = threading.Thread(target=lambda: others.append(torch.get_num_threads()))
    thread.start()
    thread.join(60)
    assert others == [4]


@pytest.mark.usefixtures("four")
def test_fewer_threads_than_cores_are_heeded(monkeypatch):
    torch.set_num_threads(2)
    with _space(monkeypatch, Watched(), Cores(16), 1) as space:
        space.encode("text", ["a", "b"])
        encoder = space._calls.members.towers("text")[0].encoder
    assert {count for _, count in encoder.preparing} == set(encoder.computing) == {2}


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted there")
def test_products_of_a_bounded_thread_start_no_other(four):
    """torch's OpenMP and its MKL both keep to the number: the threads that there are show it."""

    def work():
        take_at_most(1)
        matrix = torch.ones(600, 600)
        (matrix @ matrix).exp_().sum()
        torch.nn.functional.conv2d(torch.ones(4, 8, 64, 64), torch.ones(8, 8, 3, 3))
        counts.append(_operating_system_threads())

    counts = []
    before = _operating_system_threads()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert counts == [before + 1]


@pytest.mark.usefixtures("four")
def test_threads_are_as_before_when_a_block_raises():
    with pytest.raises(ZeroDivisionError), at_most(1):
        1 / (torch.get_num_threads() - 1)
    assert torch.get_num_threads() == 4
