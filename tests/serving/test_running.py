"""The end of a server's process, whatever its threads are at."""

from __future__ import annotations

import subprocess
import sys
import time

CODE = """
import threading, time
from mmencode.serving.running import leave_hanging_threads
threading.Thread(target=time.sleep, args=({seconds},), name="mmencode-{name}", daemon=True).start()
leave_hanging_threads(wait={wait})
print("left alone")
"""


def run(**values):
    return subprocess.run(
        [sys.executable, "-c", CODE.format(**values)], capture_output=True, text=True, timeout=300
    )


def test_a_thread_that_hangs_ends_the_process_with_words_and_no_abort():
    begun = time.monotonic()
    done = run(name="compute", seconds=600, wait=0.1)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: 1 threads didn't finish what they were at\n"
    assert time.monotonic() - begun < 120


def test_a_thread_that_finishes_is_waited_for():
    done = run(name="compute", seconds=0.1, wait=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "left alone\n", "")


def test_a_thread_that_still_loads_what_nobody_waits_for_is_left_in_silence():
    done = run(name="load", seconds=600, wait=0.1)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


FORGOTTEN = """
from mmencode import Space
from mmencode.serving.beside import serve_beside
from mmencode.testing import fake_specs
server = serve_beside(Space("fake", fake_specs()))
print(server.__enter__())
"""


def test_a_server_whose_block_never_ends_does_not_keep_its_process():
    code = [sys.executable, "-c", FORGOTTEN]
    done = subprocess.run(code, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("http://127.0.0.1:")


EARLY = """
import os, signal, socket, sys
from mmencode.serving.running import Running, bind

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

with bind("127.0.0.1", 0) as bound:
    Running(app, bound, grace=1).run(lambda: os.kill(os.getpid(), signal.SIGTERM))
print("ended")
"""


def test_a_signal_that_comes_before_the_server_looks_for_it_ends_it():
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


SPARED = """
import gc
from mmencode.serving.running import spare_what_is_loaded
before = len(gc.get_objects())
spare_what_is_loaded()
print(before > 10_000, gc.get_freeze_count() > 10_000, len(gc.get_objects()) < 1_000)
"""


def test_the_garbage_collector_looks_no_more_at_what_is_loaded():
    done = subprocess.run([sys.executable, "-c", SPARED], capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.stderr) == ("True True True\n", "")
