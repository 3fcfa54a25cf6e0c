"""Fixtures' values that the adapters' tests share: spaces, and another process that runs a few lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mmencode


def save_twin(folder: Path) -> Path:
    """Save a space of the default one's width which isn't that space."""
    with mmencode.compose("twin", {"text": "offline/minilm"}) as twin:
        twin.save(folder)
    return folder


def run_anew(lines: str, *arguments: object) -> str:
    """Run lines of Python in another process, and return what it prints; AssertionError, with its errors."""
    done = subprocess.run(
        [sys.executable, "-c", lines, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()
