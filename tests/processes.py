"""Commands that tests start in processes of their own, which end with the test whatever becomes of it."""

from __future__ import annotations

import subprocess
import threading
from contextlib import contextmanager, suppress

SECONDS = 120  # in which a process says what it is waited for, on a machine that is at much else


@contextmanager
def started(command, **options):
    """A process, which is killed at the end of the block; `Popen` alone would wait for it."""
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait(SECONDS)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(OSError):  # what nobody read
                    stream.close()


def read_line(process, seconds=SECONDS):
    """The next line that a process prints; AssertionError where none comes."""
    found = []
    reader = threading.Thread(target=lambda: found.append(process.stdout.readline()), daemon=True)
    reader.start()
    reader.join(seconds)
    assert found, f"{process.args} printed nothing within {seconds} s"
    assert found[0], f"{process.args} ended with {process.wait(seconds)} before it printed a line"
    return found[0]
