"""A process that was forked at a bad moment works on, or says at once why it can't; it never hangs."""

from __future__ import annotations

import functools
import os
import select
import signal
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

import mmencode
from mmencode.engine.runtime import Runtime
from mmencode.isolation.guarding import Guard, Loads
from mmencode.spaces.loading import shared
from mmencode.spaces.space import Space
from mmencode.testing import FakeImage, FakeText, fake_specs, sample_items

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork"),
    pytest.mark.filterwarnings("ignore:this process was forked"),
]

PATIENCE = 60  # seconds, of which a process that works takes a fraction


def in_a_fork(work):
    """What `work` gives in a forked process, or the error's name and message; fails where that hangs."""
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        try:
            found = str(work())
        except BaseException as error:
            found = f"{type(error).__name__}: {error}"
        os.write(send, found.encode())
        os._exit(0)
    os.close(send)
    try:
        if not select.select([receive], [], [], PATIENCE)[0]:
            pytest.fail("the forked process hangs")
        return os.read(receive, 2**16).decode()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(receive)


class Gate:
    """Where the encoder under test stops while it is loaded, or encodes."""

    reached, opened = threading.Event(), threading.Event()

    @classmethod
    def wait(cls):
        cls.reached.set()
        assert cls.opened.wait(PATIENCE)


class Waits(FakeImage):
    def __init__(self):
        super().__init__()
        Gate.wait()


class WaitsForText(FakeText):
    def forward(self, tensors):
        if threading.current_thread() is not threading.main_thread():
            Gate.wait()
        return super().forward(tensors)


SPECS = tuple(
    replace(spec, target=f"{__name__}:Waits") if spec.modality == "image" else spec for spec in fake_specs()
)
SLOW_TEXTS = tuple(
    replace(spec, target=f"{__name__}:WaitsForText") if spec.modality == "text" else spec
    for spec in fake_specs()
)


@contextmanager
def meanwhile(work):
    """The block runs while another thread is in the middle of some work."""
    Gate.reached, Gate.opened = threading.Event(), threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert Gate.reached.wait(PATIENCE)
        yield
    finally:
        Gate.opened.set()
        thread.join(60)


@pytest.fixture
def waiting():
    with Space("fake", SPECS, runtime=Runtime("cpu", workers=1)) as space:
        space.tower("text")
        yield space


def test_child_of_a_process_that_loads_says_that_it_cannot_load(waiting):
    image = sample_items("image", 1)
    with meanwhile(lambda: waiting.encode("image", image)):
        found = in_a_fork(lambda: waiting.tower("text").dim)
        assert found == "8"  # what is loaded is there
        for use in (
            lambda: waiting.encode("image", image),
            lambda: waiting.id,
            lambda: Space("fake", fake_specs(), runtime=Runtime("cpu")).encode("text", ["a"]),
        ):
            found = in_a_fork(use)
            assert found.startswith("EncoderError: encoder 'fake/")
            assert "forked while another thread was loading" in found
            assert 'start processes by "spawn"' in found
    assert len(waiting.encode("image", image)) == 1


def test_child_of_a_process_that_encodes_works():
    space = Space("fake", SLOW_TEXTS, runtime=Runtime("cpu", workers=1))
    expected = space.encode("text", ["a"]).vectors.tolist()
    with space, meanwhile(lambda: space.encode("text", ["b"])):
        assert in_a_fork(lambda: space.encode("text", ["a"]).vectors.tolist()) == str(expected)


def test_child_of_a_process_that_describes_labels_works():
    space = Space("fake", SLOW_TEXTS, runtime=Runtime("cpu", workers=1))
    expected = space.classifier(["a", "b"]).classify("text", ["a"]).best
    with space:
        classifier = space.classifier(["c", "d"])
        with meanwhile(lambda: classifier.label_embeddings("text")):
            assert in_a_fork(lambda: space.classifier(["a", "b"]).classify("text", ["a"]).best) == str(
                expected
            )
            assert in_a_fork(lambda: len(classifier.label_embeddings("text"))) == "2"


def test_child_may_load_when_nobody_else_did(waiting):
    with Space("fake", fake_specs(), runtime=Runtime("cpu", workers=1)) as space:
        assert in_a_fork(lambda: len(space.encode("text", ["a"]))) == "1"
        assert in_a_fork(lambda: space.id) == space.id


def test_child_gets_the_shared_space_while_another_thread_asks_for_it(install, monkeypatch):
    install(fakes=fake_specs())
    real = mmencode.spaces.loading.load
    monkeypatch.setattr(shared, "_load", functools.cache(lambda name: Gate.wait() or real(name)))
    with meanwhile(lambda: shared("fake")):
        assert in_a_fork(lambda: Gate.opened.set() or shared("fake").name) == "fake"


def test_child_of_a_child_knows_what_its_ancestor_did(waiting):
    def grandchild():
        return in_a_fork(lambda: waiting.encode("image", sample_items("image", 1)))

    with meanwhile(lambda: waiting.tower("image")):
        assert "forked while another thread was loading" in in_a_fork(grandchild)


def test_guard_keeps_other_threads_out_and_lets_its_own_in():
    guard, order = Guard(), []

    def other():
        with guard:
            order.append("other")

    with guard:
        thread = threading.Thread(target=other)
        thread.start()
        with guard:
            order.append("own")
        order.append("own still")
    thread.join(60)
    assert order == ["own", "own still", "other"]


def test_guard_that_another_thread_holds_is_free_in_a_child():
    guard = Guard()

    def hold():
        with guard:
            Gate.wait()

    def enter():
        with guard, guard:
            return "entered"

    with meanwhile(hold):
        assert in_a_fork(enter) == "entered"


def test_guard_is_left_in_a_child_that_was_forked_within_it():
    guard = Guard()

    def fork_within():
        with guard:
            return in_a_fork(lambda: "inside")

    assert fork_within() == "inside"
    read, write = os.pipe()
    with guard:
        child = os.fork()
    if not child:
        with guard:
            os.write(write, b"left")
        os._exit(0)
    assert select.select([read], [], [], PATIENCE)[0], "the forked process hangs"
    assert os.read(read, 9) == b"left"
    os.waitpid(child, 0)
    os.close(read)
    os.close(write)


def test_loads_of_this_thread_and_of_others_in_this_process_are_no_hindrance():
    loads = Loads()

    def other():
        with loads.one("a"):
            Gate.wait()

    with meanwhile(other), loads.one("b"), loads.one("c"):
        pass
    with loads.one("d"):
        assert in_a_fork(lambda: loads.one("e").__enter__()) == "None"


def test_error_while_loading_ends_the_load():
    loads = Loads()
    with pytest.raises(RuntimeError), loads.one("a"):
        raise RuntimeError
    assert in_a_fork(lambda: loads.one("b").__enter__()) == "None"


def test_message_names_the_encoder():
    loads = Loads()

    def other():
        with loads.one("theirs"):
            Gate.wait()

    with meanwhile(other):
        found = in_a_fork(lambda: loads.one("mine").__enter__())
    assert found.startswith("EncoderError: encoder 'mine' can't be loaded")
