"""What foreign code prints is redirected, whatever other threads do meanwhile."""

from __future__ import annotations

import subprocess
import sys

PRINTING = """
import sys, threading
sys.setswitchinterval(1e-6)
from mmencode.plugins.prints import redirect_output

def talk():
    while not ended:
        print("x", flush=False)

ended = []
threads = [threading.Thread(target=talk) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(5_000):
    with redirect_output():
        pass
ended.append(True)
for thread in threads:
    thread.join()
"""


def test_threads_that_print_while_output_is_redirected_crash_nothing():
    done = subprocess.run([sys.executable, "-c", PRINTING], capture_output=True, timeout=60)
    assert done.returncode == 0
