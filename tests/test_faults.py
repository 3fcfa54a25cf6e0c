"""What the engine survives; in each case the vectors are those of the plain one-by-one path."""

from __future__ import annotations

import _thread
import gc
import multiprocessing
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmencode.engine.runtime import Runtime
from mmencode.errors import EncoderError, InputError
from mmencode.inputs import Limits
from mmencode.plugins.spec import EncoderSpec
from mmencode.spaces.space import Space
from mmencode.testing import FakeText, fake_specs, sample_items

FAULTS = ("raises", "hangs", "breaks the forward pass", "gives nothing", "is empty", "is no text")


class Faulty(FakeText):
    """A fake for which some texts are trouble, each in its way."""

    hang = threading.Event()

    def preprocess(self, item):
        if item == "raises":
            raise KeyError(item)
        if item == "hangs":
            self.hang.wait(20)
        tensors = super().preprocess(item)
        return {"hidden": tensors["hidden"] * 0} if item == "gives nothing" else tensors

    def forward(self, tensors):
        marked = super().preprocess("breaks the forward pass")["hidden"]  # [t, 8]
        if any(torch.equal(row[: len(marked)], marked) for row in tensors["hidden"]):
            raise RuntimeError("broken")
        return super().forward(tensors)


class Hungry(FakeText):
    """A fake that runs out of memory with more than `most` items, or whenever it pleases."""

    most, longest = 3, 1000
    whim = staticmethod(lambda: False)
    seen: ClassVar[list[int]] = []

    def forward(self, tensors):
        count, length = tensors["hidden"].shape[:2]
        self.seen.append(count)
        if count > self.most or length > self.longest or (count > 1 and self.whim()):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return super().forward(tensors)


class Busy(FakeText):
    """A fake that has torch's own threads work."""

    def forward(self, tensors):
        torch.mm(torch.ones(700, 700), torch.ones(700, 700))
        return super().forward(tensors)


def space_of(encoder, *, batch_size=4, workers=2, wait=20.0):
    spec = EncoderSpec(name="test", modality="text", target=f"{__name__}:{encoder.__name__}", dim=8)
    runtime = Runtime("cpu", batch_size=batch_size, workers=workers)
    return Space("test", [spec], runtime=runtime, limits=Limits(wait=wait))


def words(count):
    return [f"word {number} " + "x" * (number % 7) for number in range(count)]


def one_by_one(items):
    with space_of(FakeText) as space:
        return np.concatenate([space.encode("text", [item]).vectors for item in items])


def broken(fault):
    return {"is empty": "", "is no text": 3}.get(fault, fault)


@pytest.fixture(autouse=True)
def released():
    Faulty.hang.clear()
    Hungry.seen, Hungry.most, Hungry.longest, Hungry.whim = [], 3, 1000, staticmethod(lambda: False)
    yield
    Faulty.hang.set()


@pytest.fixture
def heeds_ctrl_c():
    """Also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", range(6))
def test_bad_item_anywhere_costs_its_neighbours_nothing(fault, place):
    items = words(6)
    items[place] = broken(fault)
    with space_of(Faulty, wait=0.3 if fault == "hangs" else 20.0) as space:
        found = space.encode("text", items, on_error="skip")
        assert found.positions.tolist() == [index for index in range(6) if index != place]
        assert [error.index for error in found.errors] == [place]
        np.testing.assert_allclose(found.vectors, one_by_one(items[:place] + items[place + 1 :]), atol=1e-6)
        with pytest.raises(InputError) as caught:
            space.encode("text", items)
        assert caught.value.index == place


@settings(deadline=None, max_examples=40)
@given(
    faults=st.dictionaries(st.integers(0, 39), st.sampled_from([f for f in FAULTS if f != "hangs"])),
    count=st.integers(1, 40),
    chunk=st.integers(1, 50),
    workers=st.integers(1, 4),
    batch_size=st.integers(1, 9),
)
def test_stream_equals_encode_equals_one_by_one(faults, count, chunk, workers, batch_size):
    items = words(count)
    for place, fault in faults.items():
        if place < count:
            items[place] = broken(fault)
    good = [place for place in range(count) if place not in faults]
    with space_of(Faulty, workers=workers, batch_size=batch_size) as space:
        whole = space.encode("text", items, on_error="skip")
        parts = list(space.stream("text", iter(items), chunk=chunk, on_error="skip"))
    assert whole.positions.tolist() == good
    assert np.concatenate([part.positions for part in parts]).tolist() == good
    assert [len(part) + len(part.errors) for part in parts[:-1]] == [chunk] * (len(parts) - 1)
    assert [error.index for part in parts for error in part.errors] == [e.index for e in whole.errors]
    for found in (whole.vectors, np.concatenate([part.vectors for part in parts])):
        np.testing.assert_allclose(found.reshape(-1, 8), one_by_one_or_none(items, good), atol=1e-6)


def one_by_one_or_none(items, good):
    return one_by_one([items[place] for place in good]) if good else np.empty((0, 8))


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_every_modality_streams_what_it_encodes(modality):
    items = sample_items(modality, 11)
    with Space("fake", fake_specs(), runtime=Runtime("cpu", "float32", batch_size=3)) as space:
        alone = np.concatenate([space.encode(modality, [item]).vectors for item in items])
        np.testing.assert_allclose(space.encode(modality, items).vectors, alone, atol=1e-6)
        parts = list(space.stream(modality, (item for item in items), chunk=4))
    assert [len(part) for part in parts] == [4, 4, 3]
    assert {part.space for part in parts} == {space.id}
    np.testing.assert_allclose(np.concatenate([part.vectors for part in parts]), alone, atol=1e-6)


def test_several_items_that_hang_cost_only_their_own_time():
    items = words(12)
    for place in (0, 1, 5, 11):
        items[place] = "hangs"
    start = time.monotonic()
    with space_of(Faulty, wait=0.2, workers=2) as space:
        found = space.encode("text", items, on_error="skip")
    assert time.monotonic() - start < 5
    assert [error.index for error in found.errors] == [0, 1, 5, 11]
    assert "more than 0.2 s" in str(found.errors[0])
    np.testing.assert_allclose(found.vectors, one_by_one([i for i in items if i != "hangs"]), atol=1e-6)


def test_what_the_iterable_raises_comes_after_what_was_before_it():
    def items():
        yield from words(10)
        raise OSError("the disk is gone")

    with space_of(FakeText) as space:
        delivered = []
        with pytest.raises(OSError, match="the disk is gone"):
            delivered.extend(space.stream("text", items(), chunk=4))
    assert [len(part) for part in delivered] == [4, 4, 2]
    np.testing.assert_allclose(
        np.concatenate([part.vectors for part in delivered]), one_by_one(words(10)), atol=1e-6
    )


@pytest.mark.usefixtures("threads_end")
def test_stream_draws_a_bounded_number_of_items_ahead():
    drawn = 0

    def endless():
        nonlocal drawn
        while True:
            drawn += 1
            yield f"text {drawn}"

    with space_of(FakeText) as space:
        stream = space.stream("text", endless(), chunk=10)
        assert [len(next(stream)) for _ in range(3)] == [10, 10, 10]
        assert drawn <= 30 + 2 * space.runtime.window_items
        stream.close()


@pytest.mark.usefixtures("threads_end")
def test_consumer_that_walks_away_leaves_no_thread():
    with space_of(FakeText) as space:
        for part in space.stream("text", iter(words(5000)), chunk=8):
            assert len(part) == 8
            break
        del part
        gc.collect()


@pytest.mark.usefixtures("threads_end")
def test_ctrl_c_ends_the_call_and_its_threads(heeds_ctrl_c):
    def items():
        yield from words(20)
        _thread.interrupt_main()
        time.sleep(1)
        yield from words(1000)

    with space_of(FakeText) as space:
        with pytest.raises(KeyboardInterrupt):
            list(space.stream("text", items(), chunk=8))
        gc.collect()
        assert len(space.encode("text", words(3))) == 3


def test_memory_that_runs_out_halves_the_batch_and_is_remembered():
    with space_of(Hungry, batch_size=16) as space:
        found = space.encode("text", ["four"] * 40)
        assert Hungry.seen[:4] == [16, 8, 4, 2]
        first = len(Hungry.seen)
        space.encode("text", ["four"] * 8)
    assert Hungry.seen[first:] == [2, 2, 2, 2]
    np.testing.assert_allclose(found.vectors, one_by_one(["four"] * 40), atol=1e-6)


def test_batches_of_other_sizes_keep_what_they_can_take():
    with space_of(Hungry, batch_size=8) as space:
        space.encode("text", ["x"] * 8)
        Hungry.most, before = 100, len(Hungry.seen)
        space.encode("text", ["x" * 50] * 8)
    assert Hungry.seen[before:] == [8]


@settings(deadline=None, max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(1, 60))
def test_memory_that_runs_out_at_random_changes_no_vector(random, count):
    Hungry.most, Hungry.whim = 8, staticmethod(lambda: random.random() < 0.3)
    with space_of(Hungry, batch_size=16) as space:
        np.testing.assert_allclose(
            space.encode("text", words(count)).vectors, one_by_one(words(count)), atol=1e-6
        )


def test_item_that_alone_is_too_much_is_named():
    Hungry.longest = 200
    with space_of(Hungry) as space:
        with pytest.raises(InputError, match="can't allocate memory") as caught:
            space.encode("text", ["a" * 300])
        assert (caught.value.index, caught.value.fault) == (0, "process")
        found = space.encode("text", ["a", "b" * 300, "c"], on_error="skip")
        assert found.positions.tolist() == [0, 2]
        assert [(error.index, error.lasting) for error in found.errors] == [(1, False)]


def test_memory_that_is_too_little_for_anything_is_no_items_fault():
    Hungry.most = 0
    with space_of(Hungry) as space:
        for items in (["a"], ["a", "b"]):
            with pytest.raises(EncoderError, match=r"can't allocate memory(.|\n)*generated items(.|\n)*free"):
                space.encode("text", items, on_error="skip")


def test_eight_threads_stream_from_one_space():
    expected = one_by_one(words(60))

    def use(_):
        return np.concatenate([part.vectors for part in space.stream("text", words(60), chunk=7)])

    with space_of(FakeText) as space, ThreadPoolExecutor(8) as pool:
        for found in pool.map(use, range(16)):
            np.testing.assert_allclose(found, expected, atol=1e-6)


def _in_child(connection, space):
    connection.send(space.encode("text", words(20)).vectors)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork")
def test_space_works_in_a_child_process_after_use(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    expected = one_by_one(words(20))
    context = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    with space_of(Busy) as space:
        space.encode("text", words(20))
        target, given_space = (_in_child, space) if method == "fork" else (_in_spawned_child, None)
        child = context.Process(target=target, args=(sender, given_space), daemon=True)
        child.start()
        assert receiver.poll(60), "the child hangs"
        np.testing.assert_allclose(receiver.recv(), expected, atol=1e-6)
        child.join(10)
        assert child.exitcode == 0


def _in_spawned_child(connection, _):
    with space_of(FakeText) as space:
        _in_child(connection, space)


@pytest.mark.parametrize("wrong", [{"chunk": 0}, {"on_error": "ignore"}])
def test_wrong_argument_is_said_at_once(wrong):
    with space_of(FakeText) as space, pytest.raises(ValueError, match=next(iter(wrong))):
        space.stream("text", ["a"], **wrong)


def test_one_item_is_no_stream():
    with space_of(FakeText) as space, pytest.raises(TypeError, match="not a sequence"):
        space.stream("text", "a dog")


@pytest.mark.usefixtures("threads_end")
def test_calls_one_after_another_share_their_threads():
    seen = set()

    class Seeing(FakeText):
        def preprocess(self, item):
            seen.add(threading.current_thread())
            return super().preprocess(item)

    with space_of(FakeText, workers=2) as space:
        space.tower("text").encoder.__class__ = Seeing
        for _ in range(50):
            space.encode("text", ["a"])
    assert len(seen) <= 3  # 50, if each call had its own; one more where a thread is late to come back
