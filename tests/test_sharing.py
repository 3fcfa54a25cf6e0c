"""Several devices share a call; here each is the CPU, so that the same code runs without a GPU."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmencode.engine.call import Window
from mmencode.engine.lane import Lane
from mmencode.engine.runtime import Runtime
from mmencode.engine.sharing import SharedLanes
from mmencode.errors import InputError
from mmencode.spaces.space import Space
from mmencode.testing import fake_specs, sample_items


def space_on(*devices, window=None, batch_size=4):
    space = Space("fake", fake_specs(), runtime=Runtime(devices, "float32", batch_size=batch_size, workers=2))
    space.runtime.window_items = window or space.runtime.window_items
    return space


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_devices_together_give_what_one_gives_alone(modality):
    items = sample_items(modality) * 5
    with space_on("cpu") as one, space_on("cpu", "cpu", "cpu", window=2) as three:
        expected = one.encode(modality, items)
        np.testing.assert_allclose(three.encode(modality, items), expected, atol=1e-6)
        parts = list(three.stream(modality, iter(items), chunk=3))
        np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-6)
        assert len({id(tower.encoder) for tower in three._members.towers(modality)}) == 3


def test_tokens_are_shared_out_too():
    texts = [f"word {number} " + "x" * (number % 5) for number in range(20)]
    with space_on("cpu") as one, space_on("cpu", "cpu", window=2) as two:
        expected = one.encode_tokens("text", texts).values
        for found, wanted in zip(two.encode_tokens("text", texts).values, expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_every_device_gets_work(monkeypatch):
    with space_on("cpu", "cpu", window=1) as space:
        met = threading.Barrier(2, timeout=20)  # each waits for the other: one alone would never go on
        for tower in space._members.towers("text"):
            forward = tower.encoder.forward
            monkeypatch.setattr(
                tower.encoder, "forward", lambda tensors, f=forward: met.wait() * 0 + f(tensors)
            )
        assert len(space.encode("text", ["a", "b", "c", "d"])) == 4


def test_bad_items_are_named_by_their_place_in_the_whole():
    items = ["a", "", "b", 3, "c", "d", ""]
    with space_on("cpu", "cpu", window=2) as space:
        found = space.encode("text", items, on_error="skip")
        assert found.positions.tolist() == [0, 2, 4, 5]
        assert [error.index for error in found.errors] == [1, 3, 6]
        with pytest.raises(InputError) as caught:
            space.encode("text", items)
        assert caught.value.index == 1


def test_what_was_computed_before_an_iterable_raises_is_delivered():
    def items():
        yield from ["a", "b", "c", "d", "e"]
        raise OSError("the disk is gone")

    with space_on("cpu", "cpu", window=1) as space:
        parts = space.stream("text", items(), chunk=2)
        assert [len(next(parts)) for _ in range(3)] == [2, 2, 1]
        with pytest.raises(OSError, match="the disk is gone"):
            next(parts)


def test_window_is_divided_among_the_devices():
    one, four = Runtime("cpu", batch_size=8), Runtime("cpu,cpu,cpu,cpu", batch_size=8)
    assert four.window_items * 4 == one.window_items
    assert four.window_bytes * 4 == one.window_bytes
    assert repr(four).startswith("Runtime(device='cpu,cpu,cpu,cpu'")


class Doing(Lane):
    """A lane that computes nothing: `work` says what becomes of a window."""

    def __init__(self, work):
        self.work = work

    def compute(self, window, *, judged=True):
        return self.work(window)

    forward = gather = find_faults = pick = None


def shared(windows, work, count):
    return SharedLanes([Doing(work)] * count).run(windows)


@given(tasks=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12), lanes=st.integers(1, 4))
@settings(deadline=None, max_examples=25)
def test_order_is_that_of_the_windows(tasks, lanes):
    def work(window):
        number, delay = window.items
        time.sleep(delay / 1000)
        return number

    windows = [Window([number, delay], ends) for number, (delay, ends) in enumerate(tasks)]
    assert list(shared(windows, work, lanes)) == list(range(len(tasks)))


@pytest.mark.parametrize("lanes", [1, 3])
def test_leaving_early_ends_the_threads_and_draws_no_more(lanes):
    before, drawn = threading.active_count(), []

    def windows():
        for number in range(1000):
            drawn.append(number)
            yield Window([number], False)

    results = shared(windows(), lambda window: window.items, lanes)
    assert next(results) == [0]
    results.close()
    assert threading.active_count() == before
    assert len(drawn) <= lanes + 1


@pytest.mark.parametrize("lanes", [1, 3])
def test_what_a_lane_raises_comes_in_its_place(lanes):
    def work(window):
        if window.items == [4]:
            raise KeyError(4)
        return window.items

    results = shared((Window([number], False) for number in range(9)), work, lanes)
    assert [next(results) for _ in range(4)] == [[0], [1], [2], [3]]
    with pytest.raises(KeyError):
        next(results)
