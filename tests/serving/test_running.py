"""The end of a server's process, whatever its threads are at."""

from __future__ import annotations

import subprocess
import sys
import time

CODE = """
import threading, time
from mmencode.serving.running import leave_hanging_threads
threading.Thread(target=time.sleep, args=({seconds},), name="mmencode-compute", daemon=True).start()
leave_hanging_threads(wait={wait})
print("left alone")
"""


def run(**values):
    return subprocess.run([sys.executable, "-c", CODE.format(**values)], capture_output=True, text=True)


def test_a_thread_that_hangs_ends_the_process_with_words_and_no_abort():
    begun = time.monotonic()
    done = run(seconds=600, wait=0.1)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: 1 threads didn't finish what they were at\n"
    assert time.monotonic() - begun < 120


def test_a_thread_that_finishes_is_waited_for():
    done = run(seconds=0.1, wait=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "left alone\n", "")
