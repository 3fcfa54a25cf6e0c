"""What a fresh process makes of an installed encoder: how declaring it goes, its card, its vectors."""

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

# Each program finds this process's path and a question on its standard input, and prints its answer last.
_DECLARE = """
import json, pickle, sys
sys.path[:], (distribution, heavy) = pickle.load(sys.stdin.buffer)
from mmencode import EncoderSpec, hookimpl
from mmencode.plugins.discovery import ask
from mmencode.plugins.installed import installed
entries = [entry for entry in installed() if entry.distribution == distribution]
before = set(sys.modules)
plugins = [ask(entry) for entry in entries]
found = [name for name in heavy if name in sys.modules and name not in before]
print("\\n" + json.dumps([sum(plugin.seconds for plugin in plugins), found]))
"""
_ENCODE = """
import json, pickle, sys
sys.path[:], (name, content) = pickle.load(sys.stdin.buffer)
from mmencode import Runtime, Space, registry
spec = registry()[name]
space = Space(spec.space_name, [spec], runtime=Runtime("cpu", "float32"))
vectors = space.encode(spec.modality, pickle.loads(content)).vectors
print("\\n" + json.dumps([space.id, vectors.tolist()]))
"""


class Declaring(NamedTuple):
    """How long all declarations of a distribution take once mmencode is imported, and what they import."""

    seconds: float
    heavy: tuple[str, ...]


@cache
def declaring(distribution: str, limit: float) -> Declaring:
    """The quickest of three fresh processes, since the machine may be busy, or the first under `limit`."""
    found = Declaring(float("inf"), ())
    for _ in range(ATTEMPTS):
        seconds, heavy = _answer(_DECLARE, (distribution, HEAVY))
        found = Declaring(min(seconds, found.seconds), tuple(heavy))
        if found.seconds <= limit:
            break
    return found


def encoding(name: str, items: Sequence[Any]) -> tuple[str, list[list[float]]]:
    """The id of the encoder's space and the vectors of a few items; SkipTest when they can't be sent."""
    try:
        content = pickle.dumps(list(items))
    except (pickle.PicklingError, TypeError, AttributeError) as cause:
        raise SkipTest(f"only items that can be pickled reach another process: {cause}") from cause
    return _encoding(name, content)


@cache
def _encoding(name: str, content: bytes) -> tuple[str, list[list[float]]]:
    space, vectors = _answer(_ENCODE, (name, content))
    return space, vectors


def _answer(program: str, question: object) -> Any:
    # Strings hash differently there, in case that an encoder depends on it.
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps((sys.path, question)),
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, f"a fresh process failed: {_reason(done.stderr)}"
    return json.loads(_last(done.stdout))


def _last(output: bytes) -> str:
    return (output.decode(errors="replace").strip().splitlines() or [""])[-1]


def _reason(output: bytes) -> str:
    """The exception that ended a process; those of mmencode go on for some lines, which are indented."""
    lines = output.decode(errors="replace").splitlines()
    return next((line for line in reversed(lines) if line[:1].strip()), "")


def forget() -> None:
    """Drop the answers; the next questions are asked again."""
    declaring.cache_clear()
    _encoding.cache_clear()
