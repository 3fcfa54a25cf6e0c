"""Streams that live: sources that pause, or wait for results; processes that stop, fork and end."""

from __future__ import annotations

import gc
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial

import numpy as np
import pytest

from mmencode.engine.feeding import Pace, Task
from mmencode.engine.runtime import Runtime
from mmencode.engine.threads import Stragglers, stop
from mmencode.engine.workers import Crew
from mmencode.errors import ClosedError, EncoderError
from mmencode.inputs import Limits
from mmencode.plugins.spec import EncoderSpec
from mmencode.spaces.space import Space
from mmencode.testing import FakeText, fake_specs

GENEROUS = 60  # seconds after which something hangs


def space_of(encoder=FakeText, *, wait=20.0, workers=2):
    spec = EncoderSpec(name="test", modality="text", target=f"{__name__}:{encoder.__name__}", dim=8)
    return Space("test", [spec], runtime=Runtime("cpu", workers=workers), limits=Limits(wait=wait))


def words(count):
    return [f"word {number} " + "x" * (number % 7) for number in range(count)]


def one_by_one(items):
    with space_of() as space:
        return np.concatenate([space.encode("text", [item]).vectors for item in items])


@pytest.mark.parametrize("chunk", [1, 3])
def test_source_may_wait_for_the_results_of_what_it_gave(chunk):
    results = queue.Queue()

    def source():
        yield from words(chunk)
        for _ in range(5):
            part = results.get(timeout=GENEROUS)
            yield from (f"{text} again" for text in words(len(part)))

    with space_of() as space:
        sizes = []
        for part in space.stream("text", source(), chunk=chunk):
            sizes.append(len(part))
            results.put(part)
    assert sizes == [chunk] * 6


def test_source_that_ends_where_it_has_nothing_more_gets_its_results_first():
    left = ["one"]

    def crawl():
        while left:
            yield left.pop()

    with space_of() as space:
        found = 0
        for part in space.stream("text", crawl(), chunk=1):
            found += len(part)
            if found < 6:
                left.append(f"page {found}")
    assert found == 6


@pytest.mark.parametrize("chunk", [10, "auto"])
def test_first_results_of_a_slow_source_come_long_before_its_last_item(chunk):
    given = 0

    def slow():
        nonlocal given
        for text in words(100):
            time.sleep(0.01)
            given += 1
            yield text

    with space_of() as space:
        stream = space.stream("text", slow(), chunk=chunk)
        first = next(stream)
        assert given < 50
        rest = list(stream)
    assert sum(len(part) for part in (first, *rest)) == 100
    found = np.concatenate([part.vectors for part in (first, *rest)])
    np.testing.assert_allclose(found, one_by_one(words(100)), atol=1e-6)


def test_chunk_that_is_asked_for_is_kept_to_by_a_slow_source():
    def slow():
        for number, text in enumerate(words(20)):
            time.sleep(0.15 if number % 6 == 0 else 0)
            yield text

    with space_of() as space:
        assert [len(part) for part in space.stream("text", slow(), chunk=8)] == [8, 8, 4]


def test_what_came_so_far_is_computed_while_a_slow_source_fills_a_chunk():
    seen = []

    class Watched(FakeText):
        def forward(self, tensors):
            seen.append(len(tensors["hidden"]))
            return super().forward(tensors)

    def slow():
        for text in words(20):
            time.sleep(0.05)
            yield text

    with space_of() as space:
        space.tower("text").encoder.__class__ = Watched
        (part,) = space.stream("text", slow(), chunk=1000)
    assert len(part) == 20
    assert len(seen) > 2


def test_source_with_a_length_is_drawn_ahead_of_its_chunks():
    drawn = []

    class Sized:
        def __len__(self):
            return 50

        def __iter__(self):
            for text in words(50):
                drawn.append(text)
                yield text

    with space_of() as space:
        stream = space.stream("text", Sized(), chunk=2)
        next(stream), next(stream)
        assert len(drawn) > 4
        assert sum(len(part) for part in stream) == 46


def test_wrong_chunk_is_said_at_once():
    with space_of() as space, pytest.raises(ValueError, match="chunk is 0"):
        space.stream("text", ["a"], chunk=0)


STOPPED = """
import os, subprocess, sys, time
sys.path[:0] = {path!r}
from mmencode.testing import FakeText
from test_streams import space_of
code = '''
import os, signal, time
input()
os.kill({{0}}, signal.SIGSTOP)
time.sleep(3)
os.kill({{0}}, signal.SIGCONT)
'''
helper = subprocess.Popen([sys.executable, "-c", code.format(os.getpid())], stdin=subprocess.PIPE)
class Stopping(FakeText):
    def preprocess(self, item):
        if item == "stop":
            helper.stdin.write(b"now\\n")
            helper.stdin.flush()
            for _ in range(6):
                time.sleep(0.1)  # most of them after the stop
        return super().preprocess(item)
with space_of(wait=1.5) as space:
    space.tower("text").encoder.__class__ = Stopping
    start = time.monotonic()
    found = space.encode("text", ["a", "stop", "b"], on_error="skip")
print(found.positions.tolist(), [str(error) for error in found.errors], time.monotonic() - start > 2)
"""


def run(code, **options):
    paths = [*sys.path, os.path.dirname(__file__)]
    program = textwrap.dedent(code).format(path=paths)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=GENEROUS, **options
    )


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system stops no process")
def test_process_that_is_stopped_for_longer_than_items_may_take_loses_none():
    done = run(STOPPED)
    assert done.stdout.strip() == "[0, 1, 2] [] True", done.stderr


KEPT = """
import sys
sys.path[:0] = {path!r}
from mmencode.testing import FakeText
from test_streams import space_of, words
space = space_of()
stream = space.stream("text", iter(words(5000)), chunk=4)
print(len(next(stream)))
kept = [space.stream("text", words(500), chunk=2) for _ in range(3)]
print([len(next(one)) for one in kept])
"""


@pytest.mark.parametrize(
    "end", ["", "raise SystemExit(0)\n", "import atexit; atexit.register(next, stream)\n"]
)
def test_stream_that_a_variable_keeps_lets_the_interpreter_end(end):
    done = run(KEPT + end)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n")[:2] == ["4", "[2, 2, 2]"]


BUSY = """
import sys, threading
sys.path[:0] = {path!r}
import torch
from mmencode.testing import FakeText
from test_streams import space_of, words
class Busy(FakeText):
    def preprocess(self, item):
        for _ in range(30):
            torch.mm(torch.ones(200, 200), torch.ones(200, 200))
        return super().preprocess(item)
space = space_of()
space.tower("text").encoder.__class__ = Busy
stream = space.stream("text", words(5000), chunk=2)
next(stream)
def use():
    for part in space.stream("text", words(5000), chunk=3):
        pass
threading.Thread(target=use, daemon=True).start()
next(stream)
"""


def test_threads_in_the_middle_of_their_work_let_the_interpreter_end():
    done = run(BUSY)
    assert done.returncode == 0, done.stderr


HANGING = """
import sys, time
sys.path[:0] = {path!r}
from mmencode.testing import FakeText
from test_streams import space_of, words
class Hangs(FakeText):
    def preprocess(self, item):
        while "hangs" in item:
            time.sleep(0.01)
        return super().preprocess(item)
space = space_of(wait=0.2)
space.tower("text").encoder.__class__ = Hangs
print(space.encode("text", ["a", "hangs", "b"], on_error="skip").positions.tolist())
"""


def test_item_that_hangs_lets_the_interpreter_end():
    done = run(HANGING)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 2]\n", "")


def _go_on(stream, connection):
    try:
        connection.send(len(next(stream)))
    except ClosedError as error:
        connection.send(str(error))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_stream_in_a_forked_process_says_that_it_belongs_to_another():
    receiver, sender = multiprocessing.Pipe(duplex=False)
    with space_of() as space:
        stream = space.stream("text", words(500), chunk=2)
        next(stream)
        child = multiprocessing.get_context("fork").Process(target=_go_on, args=(stream, sender), daemon=True)
        child.start()
        assert receiver.poll(GENEROUS), "the child hangs"
        assert "begin a stream in each process" in receiver.recv()
        child.join(GENEROUS)
        assert child.exitcode == 0
        rest = list(stream)
    assert sum(len(part) for part in rest) == 498


def _encode(space, connection):
    connection.send(space.encode("text", words(20)).vectors)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_forks_in_the_middle_of_streams_give_the_same_vectors():
    expected, stop = one_by_one(words(20)), threading.Event()

    def use(space):
        while not stop.is_set():
            for _ in space.stream("text", words(300), chunk=3):
                if stop.is_set():
                    break

    with space_of() as space:
        space.encode("text", ["a"])
        threads = [threading.Thread(target=use, args=(space,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(5):
                receiver, sender = multiprocessing.Pipe(duplex=False)
                context = multiprocessing.get_context("fork")
                child = context.Process(target=_encode, args=(space, sender), daemon=True)
                child.start()
                assert receiver.poll(GENEROUS), "the child hangs"
                np.testing.assert_allclose(receiver.recv(), expected, atol=1e-6)
                child.join(GENEROUS)
                assert child.exitcode == 0
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)


@pytest.mark.parametrize("wait", [float("inf"), 1e300, 10**20])
def test_no_limit_on_waiting_is_no_limit(wait):
    with Space("fake", fake_specs(), limits=Limits(wait=wait)) as space:
        assert len(space.encode("text", words(5))) == 5
        assert sum(len(part) for part in space.stream("text", iter(words(5)), chunk=2)) == 5


class Endless(FakeText):
    """Does not come back from some texts, as long as nobody stops it."""

    running = 0

    def preprocess(self, item):
        if "endless" in item:
            cls = Endless
            cls.running += 1
            try:
                while True:
                    time.sleep(0.001)
            finally:
                cls.running -= 1
        return super().preprocess(item)


def test_threads_given_up_are_stopped_when_the_space_is_closed():
    space = space_of(Endless, wait=0.2)
    found = space.encode("text", ["a", "endless 1", "b", "endless 2"], on_error="skip")
    assert found.positions.tolist() == [0, 2]
    assert Endless.running == 2
    space.close()
    deadline = time.monotonic() + GENEROUS
    while Endless.running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert Endless.running == 0
    with space_of() as other:  # whose threads are others
        assert len(other.encode("text", words(9))) == 9


def test_too_many_threads_given_up_end_the_call(monkeypatch):
    monkeypatch.setattr("mmencode.engine.workers.ROOM", 0.2)
    items = [f"endless {number}" if number % 2 else "good" for number in range(30)]
    monkeypatch.setattr("mmencode.spaces.space.Stragglers", partial(Stragglers, 5))
    given_up = r"5 items were given up after 0.05 s each(.|\n)*Limits.wait"
    with space_of(Endless, wait=0.05) as space, pytest.raises(EncoderError, match=given_up):
        space.encode("text", items, on_error="skip")


@pytest.mark.usefixtures("threads_end")
def test_streams_that_are_let_go_leave_nothing():
    with space_of() as space:
        for _ in range(20):
            stream = space.stream("text", iter(words(50)), chunk=3)
            next(stream)
            del stream
        gc.collect()


class Counting:
    """Work that does nothing with items but count their characters."""

    def do(self, index, item):
        return len(item)

    give_up = lose = do

    def weigh(self, result):
        return 0


def test_item_begun_while_the_consumer_was_elsewhere_has_its_own_time_and_no_more():
    pace = Pace(seconds=0.8, threads=1, ahead=1, nbytes=1)
    crew, task = Crew(Counting(), pace), Task(0, ["an item"])
    crew._clock._start -= 4  # nobody looked for as long
    crew._clock._looked -= 4
    task.begun = crew._clock.at_work()
    assert 0.7 < crew._patience(task) <= 0.8
    assert crew._patience(task) <= 0.8


@pytest.mark.parametrize("after", ["first", "several"])
def test_item_that_a_killed_thread_took_along_is_done_by_another(after):
    """A thread that is killed while it waits dies with the next task in its hands."""
    crew = Crew(Counting(), Pace(seconds=60, threads=1, ahead=9, nbytes=9))
    assert finish(crew, Task(0, ["a"])) == [1]
    stop(crew._workers[0].thread)
    if after == "several":
        later = [Task(number, ["ab"]) for number in (1, 2)]
        for task in later:
            crew.add(task)
        for task in later:
            assert finish(crew, task, added=True) == [2]
        stop(crew._workers[0].thread)
    assert finish(crew, Task(3, ["abc"])) == [3]
    crew.dismiss()


def finish(crew, task, *, added=False):
    """The results of a task, waited for in another thread, so that a hang is a failure."""
    if not added:
        crew.add(task)
    found = []
    waiting = threading.Thread(target=lambda: found.extend(crew.finish(task)), daemon=True)
    waiting.start()
    waiting.join(GENEROUS)
    assert not waiting.is_alive(), "the task is never done"
    return found
