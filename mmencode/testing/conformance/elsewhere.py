"""Ask a fresh process for an installed encoder's declaration, its card and its vectors."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple
from unittest import SkipTest

from ...plugins.discovery import HEAVY

ATTEMPTS = 3
PATIENCE = 600  # seconds for an answer; a large encoder is loaded meanwhile

# Each program reads this process's `sys.path` and its question from standard input, and prints its answer
# as the last line.
_DECLARE = """
import json, pickle, sys
sys.path[:], (distribution, heavy) = pickle.load(sys.stdin.buffer)
from mmencode import EncoderSpec, hookimpl
from mmencode.plugins.discovery import ask
from mmencode.plugins.installed import find_entries
entries = [entry for entry in find_entries() if entry.distribution == distribution]
before = set(sys.modules)
plugins = [ask(entry) for entry in entries]
found = [name for name in heavy if name in sys.modules and name not in before]
print("\\n" + json.dumps([sum(plugin.seconds for plugin in plugins), found]))
"""
_ENCODE = """
import json, pickle, sys
sys.path[:], (name, content) = pickle.load(sys.stdin.buffer)
from mmencode import Runtime, Space, registry
from mmencode.testing.conformance.suite import encode_singly
spec = registry()[name]
space = Space(spec.space_name, [spec], runtime=Runtime("cpu", "float32"))
vectors = encode_singly(space, spec.key, pickle.loads(content)).vectors
print("\\n" + json.dumps([space.id, vectors.tolist()]))
"""


class Declaring(NamedTuple):
    """The time that the declarations of a distribution take, and the heavy modules that they import.

    The time counts from when mmencode itself is imported.
    """

    seconds: float
    heavy: tuple[str, ...]


@cache
def measure_declaring(distribution: str, limit: float) -> Declaring:
    """Measure declaring in fresh processes, and keep the shortest time, since the machine may be busy.

    The first that stays under `limit`, in seconds, ends the attempts.
    """
    found = Declaring(float("inf"), ())
    for _ in range(ATTEMPTS):
        seconds, heavy = _answer(_DECLARE, (distribution, HEAVY))
        found = Declaring(min(seconds, found.seconds), tuple(heavy))
        if found.seconds <= limit:
            break
    return found


def encode(name: str, items: Sequence[Any]) -> tuple[str, list[list[float]]]:
    """Encode items in a fresh process, and give the id of the encoder's space and the vectors.

    Raises SkipTest for items that can't be pickled.
    """
    try:
        content = pickle.dumps(list(items))
    except (pickle.PicklingError, TypeError, AttributeError) as cause:
        raise SkipTest(f"only items that can be pickled can be sent to another process: {cause}") from cause
    return _encode(name, content)


@cache
def _encode(name: str, content: bytes) -> tuple[str, list[list[float]]]:
    space, vectors = _answer(_ENCODE, (name, content))
    return space, vectors


def _answer(program: str, question: object) -> Any:
    """Run a program in a fresh process and give its answer; AssertionError if it fails, or hangs."""
    # Another hash seed shows encoders that depend on the order of sets.
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=pickle.dumps((sys.path, question)),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired as cause:
        raise AssertionError(f"a fresh process gave no answer within {PATIENCE} s") from cause
    assert done.returncode == 0, f"a fresh process failed: {_reason(done.stderr)}"
    return json.loads(_last(done.stdout))


def _last(output: bytes) -> str:
    return (output.decode(errors="replace").strip().splitlines() or [""])[-1]


def _reason(output: bytes) -> str:
    """The line of the exception that ended a process; further lines of its message are indented."""
    lines = output.decode(errors="replace").splitlines()
    return next((line for line in reversed(lines) if line[:1].strip()), "")


def forget() -> None:
    """Drop the cached answers, so that the next questions are asked again."""
    measure_declaring.cache_clear()
    _encode.cache_clear()
